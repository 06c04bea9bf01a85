"""Showing again what was already used: one-time codes, recovery codes, refresh tokens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.app.people import enrolled, listener, newcomer, visitor
from tests.app.servers import valkey_server
from tests.app.system import query, serving

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.core.config import Settings
    from tests.app.servers import Server
    from tests.app.system import System

NO_REDIS = "redis://127.0.0.1:1/0"


async def test_code_replay(app: FastAPI) -> None:
    """A code that somebody looked at while it was typed does not serve a second time."""
    owner = listener(app)
    code = owner.code()
    first, second = await owner.log_in(code=code), await owner.log_in(code=code)

    assert first.json()["status"] == "authenticated"
    assert second.status == 401
    registry = app.state.metrics.registry
    assert registry.get_sample_value("logins_total", {"result": "replayed_code"}) == 1


async def test_code_replay_after_redis_is_lost(fresh_settings: Settings, valkey: Server) -> None:
    """A code that was used while Redis was there is refused when Redis is gone."""
    async with serving(fresh_settings) as app:
        owner = listener(app)
        code = owner.code()
        first = await owner.log_in(code=code)
        valkey.kill()
        second = await owner.log_in(code=code)

    assert (first.json()["status"], second.status) == ("authenticated", 401)


async def test_code_replay_after_redis_came_back_empty(system: System) -> None:
    """A code that was used while Redis was away is refused by a process that finds an empty Redis."""
    async with serving(system.settings(redis_url=NO_REDIS)) as app:
        owner = listener(app)
        code = owner.code()
        first = await owner.log_in(code=code)
    with valkey_server() as valkey:
        async with serving(system.settings(redis_url=f"redis://{valkey.address}/0")) as app:
            owner.app = app
            second = await owner.log_in(code=code)

    assert (first.json()["status"], second.status) == ("authenticated", 401)


async def test_code_replay_in_the_same_moment(system: System) -> None:
    """Two processes without a common Redis accept a code once, whoever comes first."""
    away = system.settings(redis_url=NO_REDIS)
    async with serving(away) as here, serving(away) as there:
        owner = listener(here)
        challenge = (await owner.log_in()).json()["challenge"]
        body = {"challenge": challenge, "code": owner.code()}
        sends = []
        for app in (here, there, here, there):
            owner.app = app
            sends.append(asyncio.ensure_future(owner.send("POST", "/auth/login/code", body)))
            await asyncio.sleep(0)
        answers = await asyncio.gather(*sends)

    assert sorted(answer.status or 0 for answer in answers) == [200, 401, 401, 401]


async def test_older_code_after_a_newer_one(app: FastAPI) -> None:
    """Once a later code was used an earlier one, whose time is not over, is refused."""
    owner = listener(app)
    later, earlier = owner.code(1), owner.code()

    assert (await owner.log_in(code=later)).json()["status"] == "authenticated"
    assert (await owner.log_in(code=earlier)).status == 401


async def test_confirmation_code_is_used(system: System) -> None:
    """The code that confirmed the authenticator does not log in, with Redis away too."""
    async with serving(system.settings(redis_url=NO_REDIS)) as app:
        owner = await newcomer(app)
        answer = await owner.send("POST", "/auth/2fa/enrol", {"password": owner.password})
        owner.secret = answer.json()["secret"]
        code = owner.code()
        confirmed = await owner.send("POST", "/auth/2fa/confirm", {"code": code})
        replayed = await owner.log_in(code=code)

    assert (confirmed.status, replayed.status) == (200, 401)


async def test_recovery_code_reuse(app: FastAPI) -> None:
    """A recovery code opens the account once, one after the other and at the same moment."""
    owner = await newcomer(app)
    codes = await enrolled(owner)
    first, second = await owner.log_in(code=codes[0]), await owner.log_in(code=codes[0])
    challenge = (await owner.log_in()).json()["challenge"]
    body = {"challenge": challenge, "code": codes[1]}
    at_once = await asyncio.gather(
        *(owner.send("POST", "/auth/login/code", body) for _ in range(3))
    )

    assert (first.json()["status"], second.status) == ("authenticated", 401)
    assert sorted(answer.status or 0 for answer in at_once) == [200, 401, 401]


async def test_recovery_codes_of_before(app: FastAPI) -> None:
    """Codes end with the enrolment that they belong to, and do not open another account."""
    owner, other = await newcomer(app), await newcomer(app)
    old = await enrolled(owner)
    await enrolled(other)
    body = {"password": owner.password, "code": old[0]}
    assert (await owner.send("POST", "/auth/2fa/disable", body)).status == 204
    await enrolled(owner)

    assert (await owner.log_in(code=old[1])).status == 401
    assert (await other.log_in(code=old[2])).status == 401


async def test_refresh_token_reuse(app: FastAPI) -> None:
    """A stolen refresh token that is used after its owner did ends the whole session, the owner's token too."""
    owner = visitor(app)
    await owner.arrive()
    stolen = owner.refresh_token
    fresh = (await owner.refresh(stolen)).json()["refresh_token"]
    thief = await owner.refresh(stolen)

    assert thief.status == 401
    assert (await owner.refresh(fresh)).status == 401
    registry = app.state.metrics.registry
    assert registry.get_sample_value("token_refreshes_total", {"result": "reused"}) == 1


async def test_refresh_token_reuse_at_once(app: FastAPI, system: System) -> None:
    """Of many uses at the same moment one succeeds at most, and nothing of the session is left valid."""
    owner = await newcomer(app)
    token = owner.refresh_token
    answers = await asyncio.gather(*(owner.refresh(token) for _ in range(8)))

    assert sum(answer.status == 200 for answer in answers) == 1
    valid = (
        "SELECT count(*) FROM refresh_tokens JOIN users ON users.id = user_id "
        "WHERE username = $1 AND used_at IS NULL AND revoked_at IS NULL"
    )
    assert await query(system, valid, owner.username) == 0


async def test_stored_tokens_open_nothing(app: FastAPI, system: System) -> None:
    """What the database holds is no token, no code and no secret in clear."""
    owner = await newcomer(app)
    codes = await enrolled(owner)
    dump = (
        "SELECT string_agg(encode(digest, 'escape'), ' ') || string_agg(encode(secret, 'escape'), ' ') "
        "FROM (SELECT digest FROM refresh_tokens UNION ALL SELECT digest FROM recovery_codes) AS kept "
        "CROSS JOIN user_totp WHERE user_id = (SELECT id FROM users WHERE username = $1)"
    )
    kept = await query(system, dump, owner.username)

    assert owner.refresh_token not in kept
    assert owner.secret not in kept
    assert not [code for code in codes if code in kept]
