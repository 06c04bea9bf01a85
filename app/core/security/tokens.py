"""Tokens: short signed ones that say who calls, and random ones that are exchanged for new ones."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import jwt

from app.core.errors import UnauthorizedError
from app.models.user import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.core.security.keys import Keys

ALGORITHM = "HS256"
ISSUER = "social-flow"
ACCESS = "access"
CHALLENGE = "challenge"
ACCESS_TTL_S = 600
CHALLENGE_TTL_S = 300
REFRESH_TTL_S = 14 * 24 * 3600
REFRESH_BYTES = 32

REQUIRED_CLAIMS = ("exp", "iat", "sub", "aud", "iss", "jti")
# Ours have some 400 characters; nobody's parser should see a header line of 64 KiB.
MAX_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as proved by a token. The role is that of when it was issued, at most 600 s ago."""

    user_id: UUID
    role: Role
    session_id: UUID


class Tokens:
    """Issues and reads. `now` is in seconds since 1970 UTC.

    A reader takes nothing from the token but the id of the key, and that only among its own: the algorithm, the
    issuer and the audience are the reader's.
    """

    def __init__(self, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now

    def issue_access(self, identity: Identity) -> tuple[str, int]:
        """Return a token that says who calls, and for how many seconds it holds."""
        claims = {"role": identity.role.value, "sid": str(identity.session_id)}
        return self._issue(ACCESS, identity.user_id, ACCESS_TTL_S, claims), ACCESS_TTL_S

    def read_access(self, token: str) -> Identity:
        """Return who calls; raise `UnauthorizedError` for anything that is wrong with the token."""
        claims = self._read(ACCESS, token)
        try:
            return Identity(UUID(claims["sub"]), Role(claims["role"]), UUID(claims["sid"]))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise UnauthorizedError from None

    def issue_challenge(self, user_id: UUID) -> str:
        """Return a token that says: the password was right, the code is still missing. It holds for 300 s."""
        return self._issue(CHALLENGE, user_id, CHALLENGE_TTL_S, {})

    def read_challenge(self, token: str) -> UUID:
        """Return whose password was right; raise `UnauthorizedError` for anything that is wrong with the token."""
        claims = self._read(CHALLENGE, token)
        try:
            return UUID(claims["sub"])
        except ValueError:
            raise UnauthorizedError from None

    def new_refresh(self) -> str:
        """Return 256 random bits as 43 characters that are safe in a URL."""
        return secrets.token_urlsafe(REFRESH_BYTES)

    def _issue(self, audience: str, subject: UUID, ttl_s: int, claims: Mapping[str, str]) -> str:
        key_id, key = self._keys.signing_key
        issued_at = int(self._now())
        payload = {
            **claims,
            "iss": ISSUER,
            "aud": audience,
            "sub": str(subject),
            "jti": uuid4().hex,
            "iat": issued_at,
            "exp": issued_at + ttl_s,
        }
        return jwt.encode(payload, key, ALGORITHM, headers={"kid": key_id})

    def _read(self, audience: str, token: str) -> dict[str, Any]:
        if len(token) > MAX_CHARACTERS:
            raise UnauthorizedError
        try:
            key = self._keys.signing_keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                # Times are held against this object's clock below.
                options={
                    "require": list(REQUIRED_CLAIMS),
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "strict_aud": True,
                },
            )
            if not int(claims["iat"]) <= self._now() < int(claims["exp"]):
                raise UnauthorizedError
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError):
            raise UnauthorizedError from None
        return claims
