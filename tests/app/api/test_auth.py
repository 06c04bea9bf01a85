"""Accounts over HTTP, on real PostgreSQL and Valkey: signing up, logging in, sessions."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from app.seed.world import build_world
from tests.app.people import Person, enrolled, listener, newcomer, registration, stranger, visitor
from tests.app.servers import free_port
from tests.app.system import query, serving

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.app.api.asgi import Answer
    from tests.app.system import System

WRONG = "something else"


def _count(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.metrics.registry.get_sample_value(name, labels) or 0.0


def _problem(answer: Answer) -> tuple[int | None, str]:
    return answer.status, answer.headers["content-type"]


async def test_register_then_log_in(app: FastAPI) -> None:
    """A new account is a viewer's, can log in by name or by address, and its token shows who it is."""
    person = stranger(app)
    made = await person.send("POST", "/auth/register", registration(person))

    assert made.status == 201
    assert made.json() | {"id": 0, "created_at": 0} == {
        "id": 0,
        "created_at": 0,
        "username": person.username,
        "email": f"{person.username}@example.org",
        "role": "viewer",
        "two_factor": False,
    }
    await person.arrive()
    assert (await person.send("GET", "/auth/me")).json() == made.json()
    by_address = await person.log_in(username=f"{person.username.title()}@Example.ORG")
    assert by_address.json()["status"] == "authenticated"
    assert _count(app, "signups_total") == 1
    assert _count(app, "logins_total", result="success") == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "Upper"},
        {"username": "a"},
        {"username": "-a-"},
        {"username": "a" * 33},
        {"username": "a\u0000b"},
        {"email": "nobody"},
        {"email": "nobody@localhost"},
        {"email": "\uff21\uff22@example.org"},
        {"password": "shrt-pw-9"},
        {"password": "x" * 129},
        {"password": "password1234"},
        {"password": "qwertyuiop"},
        {"password": "aaaaaaaaaaaa"},
        {"username": "harbour-7", "password": "my-harbour-7-pass"},
        {"role": "admin"},
        {"email": None},
    ],
)
async def test_registration_is_checked(app: FastAPI, changes: dict[str, Any]) -> None:
    """Names, addresses and passwords out of form, weak passwords and unknown fields are a 422; nothing is quoted."""
    person = stranger(app)
    body = registration(person, **changes)
    answer = await person.send("POST", "/auth/register", body)

    assert _problem(answer) == (422, "application/problem+json")
    assert body["password"] not in answer.body.decode()


@pytest.mark.parametrize("taken", ["username", "email"])
async def test_taken_names_conflict(app: FastAPI, taken: str) -> None:
    """A second account with a name or an address that is taken is a 409, which does not say which of both."""
    first, second = await newcomer(app), stranger(app)
    body = registration(second) | {taken: registration(first)[taken]}
    if taken == "email":
        body["email"] = body["email"].upper()
    answer = await second.send("POST", "/auth/register", body)

    assert _problem(answer) == (409, "application/problem+json")
    assert answer.json()["detail"] == "the user name or the e-mail address is taken"


async def test_same_moment_registrations(app: FastAPI) -> None:
    """Of registrations of one name at the same moment exactly one is accepted."""
    person = stranger(app)
    body = registration(person)
    answers = await asyncio.gather(*(person.send("POST", "/auth/register", body) for _ in range(4)))
    statuses = [answer.status for answer in answers]

    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409, 503}, "503 is for those who waited too long for a hash"


async def test_answers_are_kept_by_nobody(app: FastAPI) -> None:
    """Each answer of the auth endpoints forbids caches, tokens and refusals alike."""
    person = visitor(app)
    answers = [
        await person.log_in(),
        await person.log_in(password=WRONG),
        await person.send("GET", "/auth/me"),
        await person.refresh(person.refresh_token),
    ]

    assert [answer.status for answer in answers] == [200, 401, 200, 200]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_refresh_rotates(app: FastAPI) -> None:
    """A refresh token gives a new pair once; the new access token works and is of the same session."""
    person = visitor(app)
    await person.arrive()
    answer = await person.refresh(person.refresh_token)

    assert answer.status == 200
    said = answer.json()
    assert (said["token_type"], said["expires_in_s"]) == ("bearer", 600)
    assert answer.json()["refresh_token"] != person.refresh_token
    person.keep(answer.json())
    assert (await person.send("GET", "/auth/me")).json()["username"] == person.username


async def test_logout_ends_the_session(app: FastAPI) -> None:
    """After a logout the refresh token is refused; other sessions go on; an unknown token gets the same answer."""
    here = visitor(app)
    await here.arrive()
    there = Person(app, here.username)
    await there.arrive()
    body = {"refresh_token": here.refresh_token}
    answers = [
        await here.send("POST", "/auth/logout", body),
        await here.send("POST", "/auth/logout", body),
        await here.send("POST", "/auth/logout", {"refresh_token": "never-given-out"}),
    ]

    assert {(answer.status, answer.body) for answer in answers} == {(204, b"")}
    assert (await here.refresh(here.refresh_token)).status == 401
    assert (await there.refresh(there.refresh_token)).status == 200


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "🐟"])
async def test_no_token_no_account(app: FastAPI, token: str) -> None:
    """Without a valid token the answer is a 401 problem that names the scheme."""
    headers = [("Authorization", f"Bearer {token}".encode().decode("latin-1"))]
    from tests.app.api.asgi import call

    answer = await call(app, "GET", "/api/v1/auth/me", headers=headers)

    assert _problem(answer) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_session_outlives_no_account(app: FastAPI, system: System) -> None:
    """A token whose account is gone proves nothing, and its refresh token went with the account."""
    person = await newcomer(app)
    await query(system, "DELETE FROM users WHERE username = $1", person.username)

    assert (await person.send("GET", "/auth/me")).status == 401
    assert (await person.refresh(person.refresh_token)).status == 401


async def test_expired_tokens_are_refused_and_swept(app: FastAPI, system: System) -> None:
    """A refresh token past its time is refused, and the next login removes it."""
    person = await newcomer(app)
    await query(
        system,
        "UPDATE refresh_tokens SET expires_at = now() - interval '1 s' FROM users "
        "WHERE users.id = user_id AND username = $1",
        person.username,
    )
    answer = await person.refresh(person.refresh_token)
    await person.arrive()

    assert answer.status == 401
    left = (
        "SELECT count(*) FROM refresh_tokens JOIN users ON users.id = user_id WHERE username = $1"
    )
    assert await query(system, left, person.username) == 1


async def test_outdated_hash_is_renewed(app: FastAPI, system: System) -> None:
    """A login hashes the password again when it was hashed with other parameters than today's."""
    from argon2 import PasswordHasher

    person = visitor(app)
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(person.password)
    change = "UPDATE users SET password_hash = $2 WHERE username = $1"
    await query(system, change, person.username, weak)
    await person.arrive()

    read = "SELECT password_hash FROM users WHERE username = $1"
    assert "m=19456,t=2,p=1" in await query(system, read, person.username)
    await person.arrive()


async def test_every_seeded_account_has_the_password(app: FastAPI) -> None:
    """The first of each kind of seeded account logs in with the password of the demo."""
    await Person(app, build_world().users[0].username).arrive()
    await visitor(app).arrive()
    await listener(app).arrive()


async def test_without_redis(system: System) -> None:
    """With Redis refused people log in, refresh and sign up, marked as degraded."""
    away = system.settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with serving(away) as app:
        person = visitor(app)
        plain = await person.log_in()
        coded = listener(app)
        with_code = await coded.log_in(code=coded.code())
        made = await newcomer(app)

    assert (plain.status, plain.headers["x-degraded"]) == (200, "auth")
    assert with_code.json()["status"] == "authenticated"
    assert made.access_token


async def test_without_database(system: System) -> None:
    """With PostgreSQL refused nobody gets in and nobody is told that a password was wrong: 503 with Retry-After."""
    url = f"postgresql+asyncpg://socialflow:socialflow@127.0.0.1:{free_port()}/socialflow"
    async with serving(system.settings(database_url=url)) as app:
        person = visitor(app)
        answers = [
            await person.log_in(),
            await person.refresh("x"),
            await person.send("POST", "/auth/register", registration(stranger(app))),
            await person.send("POST", "/auth/logout", {"refresh_token": "x"}),
        ]
        unavailable = _count(app, "logins_total", result="unavailable")

    assert {_problem(answer) for answer in answers} == {(503, "application/problem+json")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert unavailable == 1


async def test_log_names_nobody(system: System, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The lines of an account's life carry ids and pseudonyms; no name, address, password, code or token."""
    from app.core.logging import configure_logging

    settings = system.settings(log_level="DEBUG")
    configure_logging(settings)
    async with serving(settings) as app:
        person = await newcomer(app)
        await person.log_in(password=WRONG)
        unknown = stranger(app)
        await unknown.log_in()
        codes = await enrolled(person)
        await person.log_in()
        await person.log_in(code=person.wrong_code())
        await person.log_in(code=codes[0])
        await person.refresh(person.refresh_token)
    out = capsysbinary.readouterr().out
    events = [json.loads(line) for line in out.splitlines()]

    said = {(e["event"], e.get("reason")) for e in events if e["component"] == "auth"}
    assert said == {
        ("user_registered", None),
        ("login_success", None),
        ("login_failed", "invalid_password"),
        ("login_failed", "user_not_found"),
        ("login_failed", "code_required"),
        ("login_failed", "invalid_code"),
        ("two_factor_enrolled", None),
        ("two_factor_confirmed", None),
        ("recovery_code_used", None),
        ("token_refreshed", None),
    }
    secrets = (
        *(person.username, unknown.username, person.password, WRONG, person.address),
        *(person.secret, codes[0], person.access_token, person.refresh_token, "@example.org"),
    )
    assert not [secret for secret in secrets if secret.encode() in out]
