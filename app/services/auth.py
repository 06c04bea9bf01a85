"""Logging in, in one order: limits, account, password, code, tokens.

An unknown name, a wrong password and an account without one take the same steps and get the same answer. An enrolled
account gets tokens by a code alone: each failure on the way is a refusal or a 503, never a shortcut.
"""
# ruff: noqa: TC001 - FastAPI reads annotations at run time

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import structlog
from sqlalchemy import text

from app.core.context import current
from app.core.errors import AppError, TooManyRequestsError, UnauthorizedError, UnavailableError
from app.core.metrics import LoginResult
from app.services.sessions import TokenPair
from app.services.two_factor import CodeRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.core.security.keys import Keys
    from app.core.security.passwords import Passwords
    from app.core.security.tokens import Tokens
    from app.infrastructure.database import Database
    from app.services.login_limits import LoginLimits
    from app.services.sessions import Sessions
    from app.services.two_factor import Proof, TwoFactor
    from app.services.users import UserRecord, Users

log = structlog.get_logger(component="auth")


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """Tokens, or the challenge that they cost: show it with a code to /auth/login/code."""

    status: Literal["authenticated", "code_required"]
    tokens: TokenPair | None = None
    challenge: str | None = None


@dataclass(slots=True)
class _Attempt:
    """One attempt to log in: what it is called in the log, and since when it runs."""

    name: str
    address: str
    begun: float
    user: UserRecord | None = None


class AuthService:
    """Lets people in."""

    def __init__(
        self,
        *,
        database: Database,
        users: Users,
        sessions: Sessions,
        two_factor: TwoFactor,
        passwords: Passwords,
        limits: LoginLimits,
        tokens: Tokens,
        keys: Keys,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._users = users
        self._sessions = sessions
        self._two_factor = two_factor
        self._passwords = passwords
        self._limits = limits
        self._tokens = tokens
        self._keys = keys
        self._logins = metrics.logins_total

    async def login(self, name: str, password: str, code: str | None, address: str) -> LoginAnswer:
        """Check a password, and the code when the account asks for one. Raises UnauthorizedError."""
        name = name.lower()
        async with self._attempt(name, address) as attempt:
            await self._limits.check(name, address)
            attempt.user = user = await self._users.by_login(name)
            right = await self._passwords.verify(password, user.password_hash if user else None)
            if user is None or not right:
                await self._limits.failed(name, address)
                raise self._refused(attempt, LoginResult.INVALID_CREDENTIALS, _why(user))
            proof = None
            if self._two_factor.asks(user):
                if code is None:
                    return self._ask(attempt, user)
                proof = await self._proof(attempt, user, code)
            tokens = await self._let_in(attempt, user, proof)
            if tokens is None:
                return self._ask(attempt, user)
            await self._limits.succeeded(name, address)
            await self._renew_hash(user, password)
            return LoginAnswer("authenticated", tokens)

    async def login_with_code(self, challenge: str, code: str, address: str) -> TokenPair:
        """Finish a login whose password was right. Raises UnauthorizedError."""
        user_id = self._tokens.read_challenge(challenge)
        async with self._attempt(str(user_id), address) as attempt:
            attempt.user = user = await self._users.by_id(user_id)
            if user is None:
                raise self._refused(attempt, LoginResult.INVALID_CREDENTIALS, "user_not_found")
            # Whoever is not enrolled any more has nothing to prove here; they log in by password.
            if not self._two_factor.asks(user):
                raise self._refused(attempt, LoginResult.INVALID_CODE, "invalid_code")
            proof = await self._proof(attempt, user, code)
            tokens = await self._let_in(attempt, user, proof)
            if tokens is None:
                raise UnauthorizedError
            await self._limits.succeeded(user.username, address)
            return tokens

    async def _proof(self, attempt: _Attempt, user: UserRecord, code: str) -> Proof:
        """Look at the code. Guesses are counted by account, whatever name the password was shown under."""
        await self._limits.check(str(user.id), attempt.address)
        try:
            return await self._two_factor.prove(user, code)
        except CodeRefusedError as refused:
            raise await self._code_refused(attempt, user, refused) from refused

    async def _let_in(
        self, attempt: _Attempt, user: UserRecord, proof: Proof | None
    ) -> TokenPair | None:
        """Spend the proof and begin a session, both or neither. None when a code is asked for since a moment ago."""

        async def write(session: AsyncSession) -> TokenPair | None:
            if proof is not None:
                await self._two_factor.spend(session, user, proof)
            return await self._sessions.begin(
                session, user.id, user.role, with_code=proof is not None
            )

        try:
            tokens = await self._database.run(write, operation="insert", table="refresh_tokens")
        except CodeRefusedError as refused:
            raise await self._code_refused(attempt, user, refused) from refused
        if tokens is None:
            return None
        if proof is not None:
            await self._two_factor.spent(user, proof)
            await self._limits.succeeded(str(user.id), attempt.address)
        self._welcome(attempt, user)
        return tokens

    def _welcome(self, attempt: _Attempt, user: UserRecord) -> None:
        self._logins.labels(LoginResult.SUCCESS).inc()
        context = current.get()
        if context is not None:
            context.user_id = str(user.id)
        log.info("login_success", **_shown(attempt), status="success")

    def _ask(self, attempt: _Attempt, user: UserRecord) -> LoginAnswer:
        self._logins.labels(LoginResult.CODE_REQUIRED).inc()
        log.info("login_failed", **_shown(attempt), reason="code_required", status="failure")
        return LoginAnswer("code_required", challenge=self._tokens.issue_challenge(user.id))

    async def _code_refused(
        self, attempt: _Attempt, user: UserRecord, refused: CodeRefusedError
    ) -> UnauthorizedError:
        await self._limits.failed(str(user.id), attempt.address)
        return self._refused(attempt, LoginResult(refused.reason), refused.reason)

    def _refused(self, attempt: _Attempt, result: LoginResult, reason: str) -> UnauthorizedError:
        """Count and log a refusal; return what the caller hears, which is the same for all of them."""
        self._logins.labels(result).inc()
        who = {} if attempt.user else {"user": self._keys.pseudonym(attempt.name)}
        log.warning("login_failed", **_shown(attempt), **who, reason=reason, status="failure")
        return UnauthorizedError()

    async def _renew_hash(self, user: UserRecord, password: str) -> None:
        """Hash again when the parameters have changed; it is no reason to turn anybody away."""
        old = user.password_hash
        if old is None or not self._passwords.outdated(old):
            return
        try:
            values = {"id": user.id, "old": old, "new": await self._passwords.hash(password)}

            async def write(session: AsyncSession) -> None:
                await session.execute(_RENEW_HASH, values)

            await self._database.run(write, operation="update", table="users")
        except UnavailableError as unavailable:
            log.debug("password_hash_kept", dependency=unavailable.dependency)

    @asynccontextmanager
    async def _attempt(self, name: str, address: str) -> AsyncIterator[_Attempt]:
        """Count and log how an attempt ended that was not refused for what it showed."""
        attempt = _Attempt(name, address, perf_counter())
        try:
            yield attempt
        except TooManyRequestsError:
            self._refused(attempt, LoginResult.LIMITED, "limited")
            raise
        except UnavailableError:
            # Its breaker and the metrics tell; a line for each caller would be a storm.
            self._logins.labels(LoginResult.UNAVAILABLE).inc()
            raise
        except AppError:
            raise
        except Exception:
            self._logins.labels(LoginResult.UNAVAILABLE).inc()
            log.exception("login_error", **_shown(attempt), status="failure")
            raise


def _why(user: UserRecord | None) -> str:
    """Name for the log alone why a password did not do."""
    if user is None:
        return "user_not_found"
    return "invalid_password" if user.password_hash else "no_password"


def _shown(attempt: _Attempt) -> dict[str, object]:
    shown: dict[str, object] = {"duration_ms": round((perf_counter() - attempt.begun) * 1000, 1)}
    if attempt.user is not None:
        shown["user_id"] = str(attempt.user.id)
    return shown


# Conditional, so that a password that was changed meanwhile stays changed.
_RENEW_HASH = text("UPDATE users SET password_hash = :new WHERE id = :id AND password_hash = :old")
