"""Accounts: signing up, and what administrators may change."""
# ruff: noqa: TC003 - FastAPI reads annotations at run time

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import bindparam, select, text, tuple_

from app.core.errors import ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from app.models import Role, User, UserTotp
from app.services.paging import Cursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.core.security.passwords import Passwords
    from app.infrastructure.database import Database
    from app.services.login_limits import LoginLimits
    from app.services.users import AnyRow, UserRecord, Users

log = structlog.get_logger(component="auth")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as its owner and administrators see it."""

    id: UUID
    username: str
    email: str
    role: Role
    two_factor: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AccountPage:
    """A part of all accounts, newest first; `next_cursor` leads to the part after it, null at the end."""

    items: list[Account]
    next_cursor: str | None


class AccountService:
    """Makes, shows and changes accounts."""

    def __init__(
        self,
        database: Database,
        users: Users,
        passwords: Passwords,
        limits: LoginLimits,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._users = users
        self._passwords = passwords
        self._limits = limits
        self._signups = metrics.signups_total

    async def register(self, username: str, email: str, password: str, address: str) -> Account:
        """Make an account, a viewer's. Raises ConflictError when name or address are taken, not saying which."""
        await self._limits.check_signup(address)
        values = {
            "id": uuid4(),
            "username": username,
            "email": email,
            "password_hash": await self._passwords.hash(password),
        }

        async def write(session: AsyncSession) -> AnyRow | None:
            return (await session.execute(_REGISTER, values)).one_or_none()

        row = await self._database.run(write, operation="insert", table="users")
        if row is None:
            raise ConflictError("the user name or the e-mail address is taken")
        self._signups.inc()
        log.info("user_registered", user_id=str(row.id), status="success")
        return _account(row, two_factor=False)

    async def show(self, user_id: UUID) -> Account:
        """Return the caller's account. A token may outlive its account; then it proves nothing."""
        user = await self._users.by_id(user_id)
        if user is None:
            raise UnauthorizedError
        return _account(user, two_factor=user.enrolled)

    async def page(self, caller_id: UUID, limit: int, cursor: Cursor | None) -> AccountPage:
        """List accounts for an administrator of now: the token may be older than the role."""
        await self.require_admin(caller_id)
        statement = _FIRST_PAGE
        values: dict[str, object] = {"count": limit + 1}
        if cursor is not None:
            statement = _NEXT_PAGE
            values |= {"created_at": cursor.published_at, "id": cursor.id}

        async def query(session: AsyncSession) -> Sequence[AnyRow]:
            return (await session.execute(statement, values)).all()

        rows = await self._database.run(query, operation="select", table="users")
        items = [_account(row, two_factor=row.enrolled) for row in rows[:limit]]
        more = len(rows) > limit
        last = Cursor(items[-1].created_at, items[-1].id).encode() if more else None
        return AccountPage(items, last)

    async def require_admin(self, caller_id: UUID) -> None:
        """Raise ForbiddenError unless the database says that the caller is an administrator."""
        caller = await self._users.by_id(caller_id)
        if caller is None or caller.role is not Role.ADMIN:
            raise denied(caller_id, "only administrators may do this")

    async def set_role(self, caller_id: UUID, user_id: UUID, role: Role) -> Account:
        """Give an account another role; it takes effect at its next refresh.

        All administrators are locked meanwhile, so that two of them cannot take each other's role away at once and
        leave nobody.
        """

        async def write(session: AsyncSession) -> AnyRow | None:
            admins = set((await session.execute(_LOCK_ADMINS)).scalars())
            if caller_id not in admins:
                raise denied(caller_id, "only administrators may do this")
            if admins == {user_id} and role is not Role.ADMIN:
                raise ConflictError("the last administrator stays one")
            values = {"id": user_id, "role": role.value}
            return (await session.execute(_SET_ROLE, values)).one_or_none()

        row = await self._database.run(write, operation="update", table="users")
        if row is None:
            raise NotFoundError(f"there is no account {user_id}")
        log.warning(
            "role_changed",
            user_id=str(caller_id),
            account_id=str(user_id),
            role=role.value,
            status="success",
        )
        return _account(row, two_factor=row.enrolled)


def denied(user_id: UUID, detail: str) -> ForbiddenError:
    """Log that a known caller was turned away; return what they hear."""
    log.warning("access_denied", user_id=str(user_id), status="failure")
    return ForbiddenError(detail)


def _account(row: AnyRow | UserRecord, *, two_factor: bool) -> Account:
    return Account(row.id, row.username, row.email, Role(row.role), two_factor, row.created_at)


# ---- statements, built once ----

_REGISTER = text("""
    INSERT INTO users (id, username, email, password_hash)
    VALUES (:id, :username, :email, :password_hash)
    ON CONFLICT DO NOTHING RETURNING id, username, email, role, created_at
""")

_ACCOUNT: Any = select(
    User.id,
    User.username,
    User.email,
    User.role,
    User.created_at,
    UserTotp.confirmed_at.is_not(None).label("enrolled"),
).outerjoin(UserTotp, UserTotp.user_id == User.id)

_FIRST_PAGE = _ACCOUNT.order_by(User.created_at.desc(), User.id.desc()).limit(bindparam("count"))

_NEXT_PAGE = _FIRST_PAGE.where(
    tuple_(User.created_at, User.id) < tuple_(bindparam("created_at"), bindparam("id"))
)

_LOCK_ADMINS = (
    select(User.id).where(User.role == Role.ADMIN).order_by(User.id).with_for_update(key_share=True)
)

_SET_ROLE = text("""
    UPDATE users SET role = :role WHERE id = :id
    RETURNING id, username, email, role, created_at, EXISTS (
        SELECT FROM user_totp WHERE user_totp.user_id = users.id AND confirmed_at IS NOT NULL
    ) AS enrolled
""")
