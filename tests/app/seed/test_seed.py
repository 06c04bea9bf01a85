"""The seeded world."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import TYPE_CHECKING

import asyncpg
import pytest
from argon2 import PasswordHasher

from app.core.security.keys import Keys
from app.models import Role
from app.seed.image import HEIGHT, WIDTH, thumbnail
from app.seed.world import PASSWORD, build_world, totp_secret
from tests.app.system import run_module, seeded_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.app.system import System


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A seeded system that no other test has written to."""
    with seeded_system(tmp_path_factory.mktemp("fresh")) as system:
        yield system


# Of the whole world: whoever changes it does so knowingly, since load and scenarios live on it.
DIGEST = "74b27a8a0b2e66bf"


def test_world_is_fixed() -> None:
    """The world is the same in every run and on every machine."""
    assert hashlib.sha256(repr(build_world()).encode()).hexdigest()[:16] == DIGEST


def test_world_is_plausible() -> None:
    """Unique names and titles, known roles, creators own the videos, and a tenth of them has most of the views."""
    world = build_world()
    by_id = {user.id: user for user in world.users}

    assert len({user.username for user in world.accounts}) == len(world.accounts) == 1100
    assert len({user.id for user in world.accounts}) == 1100
    assert len({user.username for user in world.users}) == len(by_id) == 50
    assert {user.role for user in world.users} == set(Role)
    assert len({video.title for video in world.videos}) == len({v.id for v in world.videos}) == 120
    assert all(by_id[video.owner_id].role == "creator" for video in world.videos)
    views = sorted((video.views for video in world.videos), reverse=True)
    assert sum(views[:12]) > sum(views) / 2
    assert views[-1] > 0


def test_names_and_secrets_can_be_derived() -> None:
    """Load derives names and secrets by itself, so their form is fixed: base32 of 20 bytes, without padding."""
    world = build_world()

    assert [u.username for u in (*world.listeners[::999], *world.visitors[::49])] == [
        "listener-0000",
        "listener-0999",
        "visitor-00",
        "visitor-49",
    ]
    assert world.listeners[0].email == "listener-0000@socialflow.example"
    assert totp_secret("listener-0000") == "YROM6V3YOH7RPTPFDLWVZ3ONA2A3PLDK"
    assert {user.role for user in world.listeners + world.visitors} == {"viewer"}


async def test_seeded_accounts_can_log_in(fresh: System) -> None:
    """Every account has the same hash, which is that of the password; listeners have their secret, confirmed."""
    url = fresh.environment["DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url, timeout=5)
    try:
        ids = [user.id for user in build_world().accounts]
        hashes = await connection.fetchval(
            "SELECT count(DISTINCT password_hash) FROM users WHERE id = ANY ($1)", ids
        )
        listener = build_world().listeners[7]
        row = await connection.fetchrow(
            "SELECT password_hash, secret, confirmed_at FROM user_totp JOIN users ON id = user_id WHERE id = $1",
            listener.id,
        )
    finally:
        await connection.close()

    assert hashes == 1
    assert PasswordHasher().verify(row["password_hash"], PASSWORD)
    opened = Keys.of(fresh.settings()).unseal(row["secret"])
    assert opened.decode() == totp_secret(listener.username)
    assert row["confirmed_at"] is not None


def test_production_is_not_seeded(system: System) -> None:
    """Accounts with a known password are made in no production database."""
    production = {"ENVIRONMENT": "production", "SECRET_KEY": "k" * 40, "LIVE_KEY": "k" * 40}
    done = run_module({**system.environment, **production}, "app.seed")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_thumbnail_is_a_png() -> None:
    """Every chunk has its right checksum, and the pixels fill the size that the header says."""
    image = thumbnail(0.3)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, rest = {}, image[8:]
    while rest:
        length, kind = struct.unpack(">I4s", rest[:8])
        chunks[kind] = rest[8 : 8 + length]
        assert (
            zlib.crc32(kind + chunks[kind])
            == struct.unpack(">I", rest[8 + length : 12 + length])[0]
        )
        rest = rest[12 + length :]

    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (WIDTH, HEIGHT)
    assert len(zlib.decompress(chunks[b"IDAT"])) == HEIGHT * (WIDTH + 1)
    assert max(zlib.decompress(chunks[b"IDAT"])) == len(chunks[b"PLTE"]) // 3 - 1


async def test_second_seed_changes_nothing(fresh: System) -> None:
    """Seeding again writes no row and no object, and takes no view back that came meanwhile."""
    before = await _state(fresh)
    done = run_module(fresh.environment, "app.seed")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["event"], told["users"], told["videos"], told["thumbnails"]) == (
        "seed_done",
        0,
        0,
        0,
    )
    assert await _state(fresh) == before


def test_seed_without_database(system: System) -> None:
    """Without a database the seed says so in one line and fails."""
    url = "postgresql+asyncpg://socialflow:socialflow@127.0.0.1:1/socialflow"
    done = run_module({**system.environment, "DATABASE_URL": url}, "app.seed")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


async def _state(system: System) -> list[tuple[object, ...]]:
    url = system.environment["DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url, timeout=5)
    try:
        rows = await connection.fetch(
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM videos), (SELECT count(*) FROM user_totp), "
            "sum(views) FROM video_view_counts"
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]
