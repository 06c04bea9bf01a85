"""People at the API: each at an address of their own, with what they know and what they were given."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson
import pyotp

from app.seed.world import PASSWORD, build_world, totp_secret
from tests.app.api.asgi import call

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.app.api.asgi import Answer

STEP_S = 30
_numbers = count(1)
# Each test takes accounts that no other test has touched, since limits and used codes stay.
_listeners = iter(build_world().listeners)
_visitors = iter(build_world().visitors)


def next_address() -> str:
    """Return an address that nobody came from before."""
    number = next(_numbers)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass
class Person:
    """Somebody with an account or without."""

    app: FastAPI
    username: str
    password: str = PASSWORD
    secret: str = ""
    address: str = field(default_factory=next_address)
    access_token: str = ""
    refresh_token: str = ""

    async def send(self, method: str, path: str, body: object = None, token: str = "") -> Answer:
        """Send a request as this person; `token` in place of their own."""
        headers = [("Content-Type", "application/json")] if body is not None else []
        if token or self.access_token:
            headers.append(("Authorization", f"Bearer {token or self.access_token}"))
        return await call(
            self.app,
            method,
            f"/api/v1{path}",
            headers=headers,
            body=b"" if body is None else orjson.dumps(body),
            client=self.address,
        )

    async def log_in(self, **changes: Any) -> Answer:
        """Log in, with `changes` to what is right; keep the tokens."""
        body = {"username": self.username, "password": self.password, **changes}
        answer = await self.send("POST", "/auth/login", body)
        if answer.status == 200 and answer.json()["tokens"]:
            self.keep(answer.json()["tokens"])
        return answer

    async def refresh(self, refresh_token: str) -> Answer:
        """Exchange a refresh token; nothing is kept."""
        return await self.send("POST", "/auth/refresh", {"refresh_token": refresh_token})

    async def arrive(self) -> None:
        """Log in, by code if there is a secret; it must work."""
        code = {"code": self.code()} if self.secret else {}
        answer = await self.log_in(**code)
        assert answer.status == 200, answer.body
        assert answer.json()["status"] == "authenticated", answer.body

    def keep(self, tokens: dict[str, Any]) -> None:
        """Take tokens for one's own."""
        self.access_token, self.refresh_token = tokens["access_token"], tokens["refresh_token"]

    def code(self, steps: int = 0) -> str:
        """Return the authenticator's code of now, or of so many steps later."""
        return pyotp.TOTP(self.secret).at(int(time.time()) + steps * STEP_S)

    def wrong_code(self) -> str:
        """Return a code that none of the steps around now has."""
        right = {self.code(steps) for steps in range(-3, 4)}
        return next(code for code in map("{:06}".format, count()) if code not in right)


def visitor(app: FastAPI) -> Person:
    """Return somebody with a password alone."""
    return Person(app, next(_visitors).username)


def listener(app: FastAPI) -> Person:
    """Return somebody with two-factor authentication."""
    username = next(_listeners).username
    return Person(app, username, secret=totp_secret(username))


def stranger(app: FastAPI) -> Person:
    """Return somebody without an account."""
    return Person(app, f"nobody-{next(_numbers)}", "nine copper kettles")


async def newcomer(app: FastAPI) -> Person:
    """Return somebody who has just signed up and logged in."""
    person = stranger(app)
    answer = await person.send("POST", "/auth/register", registration(person))
    assert answer.status == 201, answer.body
    await person.arrive()
    return person


def registration(person: Person, **changes: Any) -> dict[str, Any]:
    """Return what somebody sends to sign up."""
    return {
        "username": person.username,
        "email": f"{person.username}@example.org",
        "password": person.password,
        **changes,
    }


async def enrolled(person: Person) -> list[str]:
    """Give somebody who is logged in two-factor authentication; return the recovery codes."""
    answer = await person.send("POST", "/auth/2fa/enrol", {"password": person.password})
    assert answer.status == 201, answer.body
    person.secret = answer.json()["secret"]
    answer = await person.send("POST", "/auth/2fa/confirm", {"code": person.code()})
    assert answer.status == 200, answer.body
    return list(answer.json()["recovery_codes"])
