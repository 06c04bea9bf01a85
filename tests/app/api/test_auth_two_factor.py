"""Two-factor authentication over HTTP, on real PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.app.people import Person, enrolled, listener, newcomer, visitor
from tests.app.servers import free_port
from tests.app.system import query, serving

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.app.system import System

ANOTHER_KEY = "another-secret-key-that-has-more-than-32-bytes"


async def test_enrolment(app: FastAPI) -> None:
    """Enrolment gives a secret that authenticators read; codes are asked for once it is confirmed, not before."""
    person = await newcomer(app)
    answer = await person.send("POST", "/auth/2fa/enrol", {"password": person.password})
    uri = urlsplit(answer.json()["provisioning_uri"])

    assert (answer.status, uri.scheme, uri.netloc) == (201, "otpauth", "totp")
    assert parse_qs(uri.query)["secret"] == [answer.json()["secret"]]
    assert (await person.log_in()).json()["status"] == "authenticated"

    codes = await enrolled(person)
    assert len(set(codes)) == 10
    assert (await person.send("GET", "/auth/me")).json()["two_factor"] is True
    asked = (await person.log_in()).json()
    assert (asked["status"], asked["tokens"]) == ("code_required", None)
    assert asked["challenge"]


async def test_login_in_two_steps(app: FastAPI) -> None:
    """The challenge and a code give tokens; the challenge alone or with a wrong code does not."""
    person = listener(app)
    challenge = (await person.log_in()).json()["challenge"]
    wrong = {"challenge": challenge, "code": person.wrong_code()}
    right = {"challenge": challenge, "code": person.code()}

    assert (await person.send("POST", "/auth/login/code", wrong)).status == 401
    assert (await person.send("GET", "/auth/me", token=challenge)).status == 401
    answer = await person.send("POST", "/auth/login/code", right)
    assert answer.status == 200
    person.keep(answer.json())
    assert (await person.send("GET", "/auth/me")).json()["username"] == person.username


async def test_access_token_is_no_challenge(app: FastAPI) -> None:
    """A token for one purpose does not serve for another."""
    person = listener(app)
    await person.arrive()
    body = {"challenge": person.access_token, "code": person.code(1)}

    assert (await person.send("POST", "/auth/login/code", body)).status == 401


async def test_challenge_needs_an_enrolled_account(app: FastAPI, system: System) -> None:
    """A challenge from before the account switched two-factor authentication off, or was deleted, is worth nothing."""
    person = listener(app)
    body = {"challenge": (await person.log_in()).json()["challenge"], "code": person.code()}
    await query(
        system,
        "DELETE FROM user_totp USING users WHERE users.id = user_id AND username = $1",
        person.username,
    )
    first = await person.send("POST", "/auth/login/code", body)
    await query(system, "DELETE FROM users WHERE username = $1", person.username)
    second = await person.send("POST", "/auth/login/code", body)

    assert [first.status, second.status] == [401, 401]


async def test_recovery_code_in_any_spelling(app: FastAPI) -> None:
    """A recovery code opens the account, whatever its case and dashes."""
    person = await newcomer(app)
    codes = await enrolled(person)

    answer = await person.log_in(code=codes[3].upper().replace("-", " "))
    assert answer.json()["status"] == "authenticated"


async def test_conflicts(app: FastAPI) -> None:
    """What is on cannot be enrolled or confirmed again, what is off cannot be confirmed or switched off: 409."""
    off, on = await newcomer(app), listener(app)
    await on.arrive()
    answers = [
        await off.send("POST", "/auth/2fa/confirm", {"code": "123456"}),
        await off.send("POST", "/auth/2fa/disable", {"password": off.password, "code": "123456"}),
        await on.send("POST", "/auth/2fa/enrol", {"password": on.password}),
        await on.send("POST", "/auth/2fa/confirm", {"code": on.code(1)}),
    ]

    assert [answer.status for answer in answers] == [409, 409, 409, 409]


async def test_changes_need_the_password(app: FastAPI) -> None:
    """An access token without the password neither enrols nor disables; a wrong code does not confirm: 401."""
    off, on = await newcomer(app), listener(app)
    await on.arrive()
    await off.send("POST", "/auth/2fa/enrol", {"password": off.password})
    off.secret = on.secret
    answers = [
        await off.send("POST", "/auth/2fa/enrol", {"password": "something else"}),
        await off.send("POST", "/auth/2fa/confirm", {"code": off.wrong_code()}),
        await on.send("POST", "/auth/2fa/disable", {"password": "wrong one", "code": on.code(1)}),
        await on.send(
            "POST", "/auth/2fa/disable", {"password": on.password, "code": on.wrong_code()}
        ),
    ]

    assert [answer.status for answer in answers] == [401, 401, 401, 401]
    assert (await off.send("GET", "/auth/me")).json()["two_factor"] is False
    assert (await on.send("GET", "/auth/me")).json()["two_factor"] is True


async def test_disable(app: FastAPI) -> None:
    """With password and code it is switched off; then the password is enough, and enrolling begins anew."""
    person = listener(app)
    await person.arrive()
    body = {"password": person.password, "code": person.code(1)}
    answer = await person.send("POST", "/auth/2fa/disable", body)

    assert (answer.status, answer.body) == (204, b"")
    assert (await person.log_in()).json()["status"] == "authenticated"
    assert len(await enrolled(person)) == 10


async def test_confirming_ends_the_other_sessions(app: FastAPI) -> None:
    """From the moment codes are asked for only the session that confirmed goes on: the others showed none."""
    here = await newcomer(app)
    there = Person(app, here.username, here.password)
    await there.arrive()
    await enrolled(here)

    assert (await there.refresh(there.refresh_token)).status == 401
    assert (await here.refresh(here.refresh_token)).status == 200


async def test_flag_off(system: System) -> None:
    """With the flag off the password is enough and nobody enrols; such a session ends when the flag is on again."""
    async with serving(system.settings(feature_2fa_enabled=False)) as app:
        person, plain = listener(app), visitor(app)
        assert (await person.log_in()).json()["status"] == "authenticated"
        await plain.arrive()
        refused = await plain.send("POST", "/auth/2fa/enrol", {"password": plain.password})
        again = await person.refresh(person.refresh_token)
    async with serving(system.settings()) as app:
        person.app = app
        later = await person.refresh(again.json()["refresh_token"])

    assert (refused.status, again.status, later.status) == (409, 200, 401)


async def test_secret_that_cannot_be_opened(system: System) -> None:
    """When the key of the secrets is lost an enrolled account is shut (503), and by a code only; others get in."""
    async with serving(system.settings(secret_key=ANOTHER_KEY)) as app:
        person = listener(app)
        asked = await person.log_in()
        answer = await person.log_in(code=person.code())
        await visitor(app).arrive()

    assert asked.json()["tokens"] is None
    assert answer.status == 503


async def test_keys_rotate(system: System) -> None:
    """After a rotation of SECRET_KEY sessions, access tokens, secrets and recovery codes of before still work."""
    settings = system.settings()
    async with serving(settings) as app:
        person = await newcomer(app)
        codes = await enrolled(person)
    old = settings.secret_key.get_secret_value()
    rotated = system.settings(secret_key=ANOTHER_KEY, previous_secret_keys=old)
    async with serving(rotated) as app:
        person.app = app
        me = await person.send("GET", "/auth/me")
        refreshed = await person.refresh(person.refresh_token)
        by_code = await person.log_in(code=person.code(1))
        by_recovery = await person.log_in(code=codes[0])

    assert [each.status for each in (me, refreshed, by_code, by_recovery)] == [200, 200, 200, 200]
    assert by_recovery.json()["status"] == "authenticated"


async def test_database_lost_on_the_way(system: System) -> None:
    """When PostgreSQL goes away between password and code the answer is 503, and no token is given out."""
    async with serving(system.settings()) as app:
        person = listener(app)
        challenge = (await person.log_in()).json()["challenge"]
    url = f"postgresql+asyncpg://socialflow:socialflow@127.0.0.1:{free_port()}/socialflow"
    async with serving(system.settings(database_url=url)) as app:
        person.app = app
        body = {"challenge": challenge, "code": person.code()}
        answer = await person.send("POST", "/auth/login/code", body)

    assert answer.status == 503
    assert b"access_token" not in answer.body


async def test_one_code_for_many_at_once(app: FastAPI) -> None:
    """Of many logins with one code at the same moment exactly one succeeds."""
    person = listener(app)
    challenge = (await person.log_in()).json()["challenge"]
    body = {"challenge": challenge, "code": person.code()}
    # Four and the one before: as many as an account may have under way.
    answers = await asyncio.gather(
        *(person.send("POST", "/auth/login/code", body) for _ in range(4))
    )

    assert sorted(answer.status or 0 for answer in answers) == [200, 401, 401, 401]
