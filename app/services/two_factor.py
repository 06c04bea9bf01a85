"""Two-factor authentication: enrolment, and the proof that a code gives.

What counts is the database: the newest accepted step and the used recovery codes change in the transaction that uses
the proof, so a code serves once, whatever else is away. The replay filter in Redis only spares it work.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import LargeBinary, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.errors import ConflictError, UnauthorizedError, UnavailableError
from app.core.security.keys import SealBrokenError
from app.core.security.totp import (
    matching_step,
    new_recovery_codes,
    new_secret,
    normal_recovery_code,
    provisioning_uri,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.core.security.keys import Keys
    from app.core.security.passwords import Passwords
    from app.core.security.tokens import Identity
    from app.infrastructure.database import Database
    from app.services.login_limits import LoginLimits
    from app.services.users import UserRecord, Users

PURPOSE = "recovery-code"

log = structlog.get_logger(component="auth")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app needs. Codes are asked for once the first one was confirmed."""

    secret: str
    provisioning_uri: str


@dataclass(frozen=True, slots=True)
class RecoveryCodes:
    """Shown this once; each opens the account one time without the authenticator."""

    recovery_codes: list[str]


@dataclass(frozen=True, slots=True)
class Proof:
    """A code that fits, not spent yet: the step of an authenticator's code, or what a recovery code may be kept as."""

    step: int | None = None
    digests: tuple[bytes, ...] = ()


class CodeRefusedError(Exception):
    """A code that does not fit, or did already. `reason` is for the log; the caller hears one text for all."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TwoFactor:
    """Enrols accounts and checks their codes."""

    def __init__(
        self,
        *,
        database: Database,
        users: Users,
        keys: Keys,
        passwords: Passwords,
        limits: LoginLimits,
        metrics: Metrics,
        enabled: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._users = users
        self._keys = keys
        self._passwords = passwords
        self._limits = limits
        self._operations = metrics.two_factor_total
        self._enabled = enabled
        self._now = now

    def asks(self, user: UserRecord) -> bool:
        """Whether this account gets in by a code only. The flag is the operator's; no failure changes the answer."""
        return self._enabled and user.enrolled

    async def prove(self, user: UserRecord, code: str) -> Proof:
        """Look at a code. Raises CodeRefusedError, and UnavailableError when the secret cannot be opened."""
        recovery = normal_recovery_code(code)
        if recovery is not None:
            digests = self._keys.peppers(PURPOSE, f"{user.id}:{recovery}")
            return Proof(digests=tuple(digests))
        step = matching_step(self._secret_of(user), code, self._now())
        if step is None:
            raise CodeRefusedError("invalid_code")
        if await self._limits.step_was_used(user.id, step):
            raise CodeRefusedError("replayed_code")
        return Proof(step=step)

    async def spend(self, session: AsyncSession, user: UserRecord, proof: Proof) -> None:
        """Use a proof up inside the caller's transaction. Raises CodeRefusedError when another use came first."""
        if proof.step is not None:
            values: dict[str, object] = {"user_id": user.id, "step": proof.step}
            if (await session.execute(_SPEND_STEP, values)).one_or_none() is None:
                raise CodeRefusedError("replayed_code")
            return
        values = {"user_id": user.id, "digests": list(proof.digests)}
        if (await session.execute(_SPEND_RECOVERY_CODE, values)).one_or_none() is None:
            self._operations.labels("recover", "refused").inc()
            raise CodeRefusedError("invalid_code")

    async def spent(self, user: UserRecord, proof: Proof) -> None:
        """Tell what a proof that is now used up changes, after the commit."""
        if proof.step is not None:
            await self._limits.step_used(user.id, proof.step)
            return
        self._operations.labels("recover", "success").inc()
        log.warning("recovery_code_used", user_id=str(user.id), status="success")

    async def enrol(self, user_id: UUID, password: str, address: str) -> Enrolment:
        """Give a new secret, which does nothing before it is confirmed."""
        user = await self._known(user_id, password, address, "enrol")
        if user.enrolled or not self._enabled:
            self._operations.labels("enrol", "refused").inc()
            raise self._conflict("it is on already")
        secret = new_secret()
        values = {"user_id": user.id, "secret": self._keys.seal(secret.encode("ascii"))}

        async def write(session: AsyncSession) -> bool:
            return (await session.execute(_ENROL, values)).one_or_none() is not None

        if not await self._database.run(write, operation="insert", table="two_factor"):
            self._operations.labels("enrol", "refused").inc()
            raise self._conflict("it is on already")
        self._operations.labels("enrol", "success").inc()
        log.info("two_factor_enrolled", user_id=str(user.id), status="success")
        return Enrolment(secret, provisioning_uri(secret, user.username))

    async def confirm(self, identity: Identity, code: str, address: str) -> RecoveryCodes:
        """Begin to ask for codes, once the authenticator has shown that it has the secret.

        Other sessions of the account, which began without a code, end at their next refresh.
        """
        account = str(identity.user_id)
        await self._limits.check(account, address)
        user = await self._users.by_id(identity.user_id)
        if user is None:
            raise UnauthorizedError
        if user.totp_secret is None or user.enrolled or not self._enabled:
            self._operations.labels("confirm", "refused").inc()
            raise self._conflict("there is nothing to confirm")
        step = matching_step(self._secret_of(user), code, self._now())
        if step is None:
            raise await self._refused(user, "confirm", "invalid_code", address)
        codes = new_recovery_codes()
        if not await self._store_confirmation(identity, user, step, codes):
            self._operations.labels("confirm", "refused").inc()
            raise self._conflict("there is nothing to confirm")
        await self._limits.step_used(user.id, step)
        await self._limits.succeeded(account, address)
        self._operations.labels("confirm", "success").inc()
        log.info("two_factor_confirmed", user_id=account, status="success")
        return RecoveryCodes(list(codes))

    async def disable(self, user_id: UUID, password: str, code: str, address: str) -> None:
        """Stop to ask for codes; it takes the password and a code."""
        user = await self._known(user_id, password, address, "disable")
        if not user.enrolled:
            self._operations.labels("disable", "refused").inc()
            raise self._conflict("it is off already")
        try:
            proof = await self.prove(user, code)

            async def write(session: AsyncSession) -> None:
                await self.spend(session, user, proof)
                await session.execute(_FORGET, {"user_id": user.id})

            await self._database.run(write, operation="update", table="two_factor")
        except CodeRefusedError as refused:
            raise await self._refused(user, "disable", refused.reason, address) from refused
        await self.spent(user, proof)
        await self._limits.succeeded(str(user.id), address)
        self._operations.labels("disable", "success").inc()
        log.warning("two_factor_disabled", user_id=str(user.id), status="success")

    async def _known(
        self, user_id: UUID, password: str, address: str, operation: str
    ) -> UserRecord:
        """Return the account of a caller who also knows its password. A stolen token alone changes nothing."""
        await self._limits.check(str(user_id), address)
        user = await self._users.by_id(user_id)
        if user is None:
            raise UnauthorizedError
        if not await self._passwords.verify(password, user.password_hash):
            raise await self._refused(user, operation, "invalid_password", address)
        return user

    async def _refused(
        self, user: UserRecord, operation: str, reason: str, address: str
    ) -> UnauthorizedError:
        """Count and log a failed proof; return what the caller hears."""
        await self._limits.failed(str(user.id), address)
        self._operations.labels(operation, "refused").inc()
        log.warning(
            "login_failed",
            user_id=str(user.id),
            operation=operation,
            reason=reason,
            status="failure",
        )
        return UnauthorizedError()

    async def _store_confirmation(
        self, identity: Identity, user: UserRecord, step: int, codes: tuple[str, ...]
    ) -> bool:
        digests = [
            self._keys.pepper(PURPOSE, f"{user.id}:{normal_recovery_code(code)}") for code in codes
        ]
        values = {"user_id": user.id, "secret": user.totp_secret, "step": step}

        async def write(session: AsyncSession) -> bool:
            if (await session.execute(_CONFIRM, values)).one_or_none() is None:
                return False
            await session.execute(_KEEP_CODES, {"user_id": user.id, "digests": digests})
            await session.execute(_MARK_SESSION, {"family_id": identity.session_id})
            return True

        return await self._database.run(write, operation="update", table="two_factor")

    def _secret_of(self, user: UserRecord) -> str:
        """Open the secret. One that cannot be opened lets nobody in."""
        try:
            return self._keys.unseal(user.totp_secret or b"").decode("ascii")
        except SealBrokenError as error:
            log.exception("login_error", user_id=str(user.id), status="failure")
            raise UnavailableError("two-factor authentication") from error

    def _conflict(self, because: str) -> ConflictError:
        if not self._enabled:
            because = "it is switched off here"
        return ConflictError(f"two-factor authentication: {because}")


# ---- statements, built once ----

_DIGESTS: Any = bindparam("digests", type_=ARRAY(LargeBinary))

# Conditional, so that of two uses of one code the second finds nothing to change.
_SPEND_STEP = text("""
    UPDATE user_totp SET last_step = :step
    WHERE user_id = :user_id AND confirmed_at IS NOT NULL AND last_step < :step
    RETURNING user_id
""")

_SPEND_RECOVERY_CODE = text("""
    UPDATE recovery_codes SET used_at = now()
    WHERE user_id = :user_id AND digest = ANY (:digests) AND used_at IS NULL
    RETURNING user_id
""").bindparams(_DIGESTS)

# A secret that was never confirmed is replaced; a confirmed one stays.
_ENROL = text("""
    INSERT INTO user_totp AS totp (user_id, secret) VALUES (:user_id, :secret)
    ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, last_step = 0, created_at = now()
    WHERE totp.confirmed_at IS NULL
    RETURNING user_id
""")

_CONFIRM = text("""
    UPDATE user_totp SET confirmed_at = now(), last_step = :step
    WHERE user_id = :user_id AND secret = :secret AND confirmed_at IS NULL
    RETURNING user_id
""")

_KEEP_CODES = text("""
    INSERT INTO recovery_codes (user_id, digest) SELECT CAST(:user_id AS uuid), unnest(:digests)
""").bindparams(_DIGESTS)

_MARK_SESSION = text("UPDATE refresh_tokens SET with_code = true WHERE family_id = :family_id")

_FORGET = text("""
    WITH codes AS (DELETE FROM recovery_codes WHERE user_id = :user_id)
    DELETE FROM user_totp WHERE user_id = :user_id
""")
