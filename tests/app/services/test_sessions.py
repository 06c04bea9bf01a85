"""Sessions on a real PostgreSQL, in the moments that a client alone cannot bring about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from app.core.security.keys import Keys
from app.services.sessions import PURPOSE
from tests.app.people import newcomer
from tests.app.system import query, serving

if TYPE_CHECKING:
    from tests.app.system import System

USE = "UPDATE refresh_tokens SET used_at = now() WHERE digest = $1 RETURNING family_id, user_id"
FOLLOW = (
    "INSERT INTO refresh_tokens (digest, family_id, user_id, expires_at) "
    "VALUES ($1, $2, $3, now() + interval '1 day')"
)
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
VALID = "SELECT count(*) FROM refresh_tokens WHERE family_id = $1 AND revoked_at IS NULL"


async def test_logout_beside_a_refresh(system: System) -> None:
    """A logout also ends the successor that a refresh, not committed yet, is about to leave behind."""
    async with serving(system.settings()) as app:
        person = await newcomer(app)
        digest = Keys.of(system.settings()).pepper(PURPOSE, person.refresh_token)
        url = system.environment["DATABASE_URL"].replace("+asyncpg", "")
        connection = await asyncpg.connect(url, timeout=5)
        try:
            async with connection.transaction():
                row = await connection.fetchrow(USE, digest)
                await connection.execute(FOLLOW, b"n" * 32, row["family_id"], row["user_id"])
                body = {"refresh_token": person.refresh_token}
                leaving = asyncio.create_task(person.send("POST", "/auth/logout", body))
                async with asyncio.timeout(5):
                    while not await query(system, WAITING):  # noqa: ASYNC110 - PostgreSQL sets no event
                        await asyncio.sleep(0.01)
            answer = await leaving
        finally:
            await connection.close()

    assert answer.status == 204
    assert await query(system, VALID, row["family_id"]) == 0


async def test_enrolled_since_the_caller_looked(system: System) -> None:
    """A session without a code does not begin once the account asks for codes, even if the caller saw it before."""
    from app.models import Role

    async with serving(system.settings()) as app:
        person = await newcomer(app)
        user_id = await query(system, "SELECT id FROM users WHERE username = $1", person.username)
        sessions, database = app.state.services.sessions, app.state.services.accounts._database
        await query(
            system,
            "INSERT INTO user_totp (user_id, secret, confirmed_at) VALUES ($1, 'sealed', now())",
            user_id,
        )
        async with database.session() as session:
            without = await sessions.begin(session, user_id, Role.VIEWER, with_code=False)
            with_one = await sessions.begin(session, user_id, Role.VIEWER, with_code=True)

    assert without is None
    assert with_one is not None
