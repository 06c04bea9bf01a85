"""What administrators may do, over HTTP on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from app.seed.world import build_world
from tests.app.people import Person, newcomer, visitor
from tests.app.system import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from tests.app.system import System

ADMIN = build_world().users[0]


@pytest.fixture
async def admin(app: FastAPI) -> Person:
    """The seeded administrator."""
    person = Person(app, ADMIN.username)
    await person.arrive()
    return person


@pytest.fixture
async def only_admin(admin: Person, system: System) -> AsyncIterator[Person]:
    """The seeded administrator, the only one before and after the test."""
    yield admin
    await query(system, "UPDATE users SET role = 'viewer' WHERE role = 'admin'")
    await query(system, "UPDATE users SET role = 'admin' WHERE id = $1", ADMIN.id)


async def _account_of(person: Person) -> dict[str, Any]:
    account: dict[str, Any] = (await person.send("GET", "/auth/me")).json()
    return account


async def _give(admin: Person, account: dict[str, Any], role: str) -> int | None:
    path = f"/admin/users/{account['id']}/role"
    return (await admin.send("PUT", path, {"role": role})).status


async def test_pages_hold_every_account_once(admin: Person, system: System) -> None:
    """Following the cursors meets every account exactly once, newest first; a page keeps to its limit."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await admin.send("GET", f"/admin/users?limit=100&cursor={cursor}")).json()
        assert len(page["items"]) <= 100
        items += page["items"]
        cursor = page["next_cursor"]

    assert len({item["id"] for item in items}) == len(items)
    assert len(items) == await query(system, "SELECT count(*) FROM users")
    assert [i["created_at"] for i in items] == sorted(
        (i["created_at"] for i in items), reverse=True
    )


async def test_role_takes_effect_at_the_next_refresh(app: FastAPI, only_admin: Person) -> None:
    """A new role is in the account at once and in the tokens from the next refresh on."""
    person = await newcomer(app)
    account = await _account_of(person)
    answer = await only_admin.send("PUT", f"/admin/users/{account['id']}/role", {"role": "admin"})

    assert (answer.status, answer.json()) == (200, account | {"role": "admin"})
    assert (await person.send("GET", "/admin/users")).status == 403
    person.keep((await person.refresh(person.refresh_token)).json())
    assert (await person.send("GET", "/admin/users")).status == 200


async def test_taken_role_is_gone_at_once(app: FastAPI, only_admin: Person) -> None:
    """An administrator who is one no more cannot act as one with the token of before."""
    person = await newcomer(app)
    account = await _account_of(person)
    await _give(only_admin, account, "admin")
    await person.arrive()
    assert (await person.send("GET", "/admin/users")).status == 200
    await _give(only_admin, account, "viewer")

    assert (await person.send("GET", "/admin/users")).status == 403
    assert await _give(person, account, "admin") == 403


async def test_last_admin_stays(only_admin: Person) -> None:
    """The last administrator's role cannot be taken, not even by themselves."""
    account = await _account_of(only_admin)

    assert await _give(only_admin, account, "viewer") == 409
    assert await _give(only_admin, account, "admin") == 200


async def test_two_admins_cannot_leave_nobody(app: FastAPI, only_admin: Person) -> None:
    """Of two administrators who take each other's role at the same moment one stays."""
    other = await newcomer(app)
    mine, theirs = await _account_of(only_admin), await _account_of(other)
    await _give(only_admin, theirs, "admin")
    await other.arrive()
    answers = await asyncio.gather(
        _give(only_admin, theirs, "viewer"), _give(other, mine, "viewer")
    )

    assert sorted(answer or 0 for answer in answers) == [200, 403]


async def test_unknown_account(admin: Person) -> None:
    """An account that is not there is a 404, a role that is none a 422."""
    unknown = {"id": "00000000-0000-4000-8000-000000000000"}

    assert await _give(admin, unknown, "viewer") == 404
    assert await _give(admin, unknown, "owner") == 422


async def test_others_are_refused(app: FastAPI) -> None:
    """A viewer gets 403, nobody without a token more than 401; both are problems."""
    viewer, nobody = visitor(app), visitor(app)
    await viewer.arrive()
    answers = [await who.send("GET", "/admin/users") for who in (viewer, nobody)]

    assert [answer.status for answer in answers] == [403, 401]
    assert {a.headers["content-type"] for a in answers} == {"application/problem+json"}
