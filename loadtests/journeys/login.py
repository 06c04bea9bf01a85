"""What all journeys to the login share: the request, and the oracles of getting in and of being refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Request, json_object

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer

ROUTE = "POST /api/v1/auth/login"
PATH = "/api/v1/auth/login"
REFUSED = (401, 429)
TOKENS = ("access_token", "refresh_token")


def login(username: str, password: str, address: str, code: str | None = None) -> Request:
    """Return a login from `address`, as the proxy in front of the backend would report it."""
    body = {"username": username, "password": password} | ({} if code is None else {"code": code})
    return Request("POST", PATH, username, body=body, headers=(("X-Forwarded-For", address),))


def some_address(random: Random) -> str:
    """Draw an address, as each visitor has one of his own."""
    a, b, c = random.randrange(256), random.randrange(256), random.randrange(1, 255)
    return f"10.{a}.{b}.{c}"


def complain_of_tokens(_request: Request, answer: Answer) -> str:
    """Return what is wrong with the answer to a login that is right and whole."""
    data = json_object(answer.body)
    if data is None:
        return "no JSON object"
    if data.get("status") != "authenticated":
        return "not authenticated"
    tokens = data.get("tokens")
    if not isinstance(tokens, dict):
        return "no tokens"
    missing = [name for name in TOKENS if not (isinstance(tokens.get(name), str) and tokens[name])]
    return f"no {missing[0]}" if missing else ""


def complain_of_refusal(_request: Request, answer: Answer) -> str:
    """Return what is wrong with a refusal: whatever its status says, it must hold no token."""
    leaked = any(name.encode() in answer.body for name in TOKENS)
    return "a token in a refusal" if leaked else ""
