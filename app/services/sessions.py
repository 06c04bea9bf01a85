"""Sessions: families of refresh tokens, of which each is used once and followed by another.

Only keyed digests of tokens are kept. A token that is shown a second time was stolen, or its successor was; nobody can
tell which, so the whole family ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Interval, LargeBinary, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.errors import UnauthorizedError
from app.core.security.tokens import REFRESH_TTL_S, Identity, Tokens
from app.models import Role

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.core.security.keys import Keys
    from app.infrastructure.database import Database

PURPOSE = "refresh-token"
_LIFE = timedelta(seconds=REFRESH_TTL_S)

log = structlog.get_logger(component="auth")


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client shows: the access token at each request, the refresh token once, for the next pair."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of token, by RFC 6750


class _Refused(StrEnum):
    INVALID = "invalid"
    REUSED = "reused"


class Sessions:
    """Begins, continues and ends sessions."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        tokens: Tokens,
        metrics: Metrics,
        *,
        two_factor_enabled: bool,
    ) -> None:
        self._database = database
        self._keys = keys
        self._tokens = tokens
        self._refreshes = metrics.token_refreshes_total
        self._two_factor_enabled = two_factor_enabled

    async def begin(
        self, session: AsyncSession, user_id: UUID, role: Role, *, with_code: bool
    ) -> TokenPair | None:
        """Store a session's first token inside the caller's transaction; nothing is valid before that commits.

        None when the account asks for a code and none was given: it may have been enrolled since the caller looked.
        """
        refresh_token = self._tokens.new_refresh()
        family_id = uuid4()
        values = {
            "digest": self._keys.pepper(PURPOSE, refresh_token),
            "family_id": family_id,
            "user_id": user_id,
            "with_code": with_code,
            "life": _LIFE,
            "codes": self._two_factor_enabled,
        }
        if (await session.execute(_BEGIN, values)).one_or_none() is None:
            return None
        return self._pair(Identity(user_id, role, family_id), refresh_token)

    async def refresh(self, shown: str) -> TokenPair:
        """Exchange a token for its successor. Raises UnauthorizedError."""
        successor = self._tokens.new_refresh()
        digests = self._digests(shown)
        values = {
            "digests": digests,
            "successor": self._keys.pepper(PURPOSE, successor),
            "life": _LIFE,
            "codes": self._two_factor_enabled,
        }

        async def write(session: AsyncSession) -> Identity | _Refused:
            row = (await session.execute(_ROTATE, values)).one_or_none()
            if row is not None:
                return Identity(row.user_id, Role(row.role), row.family_id)
            return await self._refuse(session, digests)

        done = await self._database.run(write, operation="update", table="refresh_tokens")
        if isinstance(done, _Refused):
            self._refreshes.labels(done).inc()
            raise UnauthorizedError
        self._refreshes.labels("success").inc()
        log.debug("token_refreshed", user_id=str(done.user_id), status="success")
        return self._pair(done, successor)

    async def end(self, shown: str) -> None:
        """End the session of a token. An unknown one ends nothing, and the caller hears the same."""
        digests = self._digests(shown)

        async def write(session: AsyncSession) -> UUID | None:
            row = (await session.execute(_FIND, {"digests": digests})).one_or_none()
            if row is None:
                return None
            await _revoke(session, row.family_id)
            return UUID(str(row.user_id))

        user_id = await self._database.run(write, operation="update", table="refresh_tokens")
        if user_id is not None:
            log.info("logout", user_id=str(user_id), status="success")

    async def _refuse(self, session: AsyncSession, digests: list[bytes]) -> _Refused:
        """Say why a token was not exchanged, and end its family when it had been used before."""
        row = (await session.execute(_FIND, {"digests": digests})).one_or_none()
        if row is None or row.used_at is None:
            return _Refused.INVALID
        if await _revoke(session, row.family_id):
            log.error("token_reuse_detected", user_id=str(row.user_id), status="failure")
        return _Refused.REUSED

    def _digests(self, shown: str) -> list[bytes]:
        return list(self._keys.peppers(PURPOSE, shown))

    def _pair(self, identity: Identity, refresh_token: str) -> TokenPair:
        access_token, expires_in_s = self._tokens.issue_access(identity)
        return TokenPair(access_token, expires_in_s, refresh_token)


async def _revoke(session: AsyncSession, family_id: UUID) -> bool:
    """Revoke a whole family; tell whether anything of it was valid.

    A refresh that runs at the same moment holds the lock of the token it uses and inserts a successor that this
    statement, which waits for that lock, does not see yet. So it is repeated until nothing was left.
    """
    changed = False
    while (await session.execute(_REVOKE, {"family_id": family_id})).all():
        changed = True
    return changed


# ---- statements, built once ----

_DIGESTS: Any = bindparam("digests", type_=ARRAY(LargeBinary))
_LIFETIME: Any = bindparam("life", type_=Interval)

# What is over is swept by who comes back, so the table holds no more than two weeks of logins.
_BEGIN = text("""
    WITH swept AS (
        DELETE FROM refresh_tokens WHERE user_id = :user_id AND expires_at < now()
    )
    INSERT INTO refresh_tokens (digest, family_id, user_id, with_code, expires_at)
    SELECT CAST(:digest AS bytea), CAST(:family_id AS uuid), CAST(:user_id AS uuid), CAST(:with_code AS boolean),
           now() + :life
    WHERE CAST(:with_code AS boolean) OR NOT CAST(:codes AS boolean) OR NOT EXISTS (
        SELECT FROM user_totp WHERE user_id = :user_id AND confirmed_at IS NOT NULL
    )
    RETURNING digest
""").bindparams(_LIFETIME)

# One statement: the token is used and has its successor, or neither. The role is the one of now.
_ROTATE = text("""
    WITH used AS (
        UPDATE refresh_tokens AS token SET used_at = now()
        WHERE digest = ANY (:digests) AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
          AND (with_code OR NOT CAST(:codes AS boolean) OR NOT EXISTS (
              SELECT FROM user_totp WHERE user_totp.user_id = token.user_id AND confirmed_at IS NOT NULL
          ))
        RETURNING family_id, user_id, with_code
    ), successor AS (
        INSERT INTO refresh_tokens (digest, family_id, user_id, with_code, expires_at)
        SELECT CAST(:successor AS bytea), family_id, user_id, with_code, now() + :life FROM used
    )
    SELECT used.family_id, used.user_id, users.role FROM used JOIN users ON users.id = used.user_id
""").bindparams(_DIGESTS, _LIFETIME)

_FIND = text("""
    SELECT family_id, user_id, used_at FROM refresh_tokens WHERE digest = ANY (:digests)
""").bindparams(_DIGESTS)

_REVOKE = text("""
    UPDATE refresh_tokens SET revoked_at = now() WHERE family_id = :family_id AND revoked_at IS NULL
    RETURNING digest
""")
