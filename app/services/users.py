"""Looks accounts up, with all that proves who they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, Select, bindparam, func, select

from app.models import Role, User, UserTotp

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class UserRecord:
    """An account as the services see it; never sent to anybody."""

    id: UUID
    username: str
    email: str
    role: Role
    created_at: datetime
    password_hash: str | None = field(repr=False)
    totp_secret: bytes | None = field(repr=False)
    enrolled: bool
    """Whether two-factor authentication is confirmed, so that codes are asked for."""


class Users:
    """Reads accounts by what names them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_login(self, name: str) -> UserRecord | None:
        """Find by user name or, since only that holds an @, by e-mail address. `name` is in lower case."""
        return await self._one(_BY_EMAIL if "@" in name else _BY_USERNAME, {"name": name})

    async def by_id(self, user_id: UUID) -> UserRecord | None:
        """Find by id."""
        return await self._one(_BY_ID, {"id": user_id})

    async def _one(self, statement: AnySelect, values: dict[str, object]) -> UserRecord | None:
        async def query(session: AsyncSession) -> AnyRow | None:
            return (await session.execute(statement, values)).one_or_none()

        row = await self._database.run(query, operation="select", table="users")
        return None if row is None else UserRecord(**row._mapping)  # noqa: SLF001 - its public name


_USER: AnySelect = select(
    User.id,
    User.username,
    User.email,
    User.role,
    User.created_at,
    User.password_hash,
    UserTotp.secret.label("totp_secret"),
    UserTotp.confirmed_at.is_not(None).label("enrolled"),
).outerjoin(UserTotp, UserTotp.user_id == User.id)

_BY_USERNAME = _USER.where(User.username == bindparam("name"))
_BY_EMAIL = _USER.where(func.lower(User.email) == bindparam("name"))
_BY_ID = _USER.where(User.id == bindparam("id"))
