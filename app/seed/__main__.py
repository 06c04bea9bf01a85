"""Writes the world. What is already there is left as it is, so a second run changes nothing.

It stands between an empty system and the first request, so it talks to PostgreSQL in its own tongue: an ORM would take
longer to import than all of this to run.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog
import urllib3
from argon2 import PasswordHasher
from minio.error import MinioException

from app.bucket import store_client
from app.core.config import ConfigError, Settings, load_settings
from app.core.logging import configure_logging
from app.core.security.keys import Keys
from app.core.security.passwords import LANES, MEMORY_KIB, PASSES
from app.seed.channels import StoredRecording, store_recordings, write_channels
from app.seed.clips_of_videos import store_clips, write_clips
from app.seed.image import thumbnail
from app.seed.world import PASSWORD, SeedVideo, World, build_world, totp_secret
from app.services.media import thumbnail_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from uuid import UUID

    from minio import Minio

LIMIT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
UPLOADERS = 8

# All rows of a table in one statement; `RETURNING` tells how many were new.
_USERS = """
    INSERT INTO users (id, username, email, role, password_hash)
    SELECT *, $5 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT DO NOTHING RETURNING id
"""
_TOTP = """
    INSERT INTO user_totp (user_id, secret, confirmed_at)
    SELECT *, now() FROM unnest($1::uuid[], $2::bytea[]) ON CONFLICT DO NOTHING
"""
_VIDEOS = """
    INSERT INTO videos (id, owner_id, title, description, duration_s, published_at, status)
    SELECT *, 'published' FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::timestamptz[])
    ON CONFLICT DO NOTHING RETURNING id
"""
_COUNTS = """
    INSERT INTO video_view_counts (video_id, shard, views)
    SELECT video_id, 0, views FROM unnest($1::uuid[], $2::bigint[]) AS seeded (video_id, views)
    WHERE video_id = ANY ($3::uuid[])
"""

log = structlog.get_logger(component="seed")


@dataclass(frozen=True, slots=True)
class Written:
    """How much was new."""

    users: int
    videos: int
    thumbnails: int


async def seed(settings: Settings, world: World) -> Written:
    """Write the world to the database and the store, both at the same time."""
    async with asyncio.timeout(LIMIT_S):
        recordings = asyncio.to_thread(store_recordings, settings, world)
        (users, videos), thumbnails, clips = await asyncio.gather(
            _write_rows(settings, world, recordings),
            asyncio.to_thread(_write_thumbnails, settings, world.videos),
            asyncio.to_thread(store_clips, settings, world),
        )
        async with _connected(settings) as connection:
            await write_clips(connection, clips)
    return Written(users, videos, thumbnails)


async def _write_rows(
    settings: Settings, world: World, recordings: Awaitable[tuple[StoredRecording, ...]]
) -> tuple[int, int]:
    # One hash for all: a thousand would take half a minute, and everybody knows the password anyway.
    password_hash, stored = await asyncio.gather(asyncio.to_thread(_hash, PASSWORD), recordings)
    async with _connected(settings) as connection, connection.transaction():
        accounts = _columns([astuple(account) for account in world.accounts])
        users = await connection.fetch(_USERS, *accounts, password_hash)
        await _enrol(connection, Keys.of(settings), world, {row["id"] for row in users})
        rows = [
            (v.id, v.owner_id, v.title, v.description, v.duration_s, v.published_at)
            for v in world.videos
        ]
        videos = await connection.fetch(_VIDEOS, *_columns(rows))
        # Only videos that are new get their seeded views: those that were there have counted on.
        new = [row["id"] for row in videos]
        await connection.execute(_COUNTS, *_columns([(v.id, v.views) for v in world.videos]), new)
        await write_channels(connection, world, stored)
    return len(users), len(videos)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    url = settings.database_url.get_secret_value()
    dsn = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    connection = await asyncpg.connect(
        dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=CONNECT_TIMEOUT_S
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def _enrol(connection: asyncpg.Connection, keys: Keys, world: World, new: set[UUID]) -> None:
    """Give new listeners their two-factor secret; who was there may have another by now, or none."""
    rows = [
        (user.id, keys.seal(totp_secret(user.username).encode("ascii")))
        for user in world.listeners
        if user.id in new
    ]
    if rows:
        await connection.execute(_TOTP, *_columns(rows))


def _hash(password: str) -> str:
    hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
    return hasher.hash(password)


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _write_thumbnails(settings: Settings, videos: Sequence[SeedVideo]) -> int:
    client = store_client(settings, connections=UPLOADERS)
    bucket = settings.s3_bucket
    there = {
        item.object_name: (item.etag or "").strip('"')
        for item in client.list_objects(bucket, prefix="thumbnails/", recursive=True)
    }

    def write(video: SeedVideo) -> int:
        key, image = thumbnail_key(video.id), thumbnail(video.hue)
        if there.get(key) == hashlib.md5(image, usedforsecurity=False).hexdigest():
            return 0
        _put(client, bucket, key, image)
        return 1

    with ThreadPoolExecutor(UPLOADERS) as threads:
        return sum(threads.map(write, videos))


def _put(client: Minio, bucket: str, key: str, image: bytes) -> None:
    client.put_object(bucket, key, io.BytesIO(image), len(image), content_type="image/png")


def main() -> int:
    """Return the exit code: 0 when the whole world is there."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if settings.environment == "production":
        sys.stderr.write("seed: its accounts have a known password; seed no production database\n")
        return 2
    configure_logging(settings)
    started = time.perf_counter()
    world = build_world()
    try:
        written = asyncio.run(seed(settings, world))
    except asyncpg.UndefinedTableError:
        sys.stderr.write("seed: the database has no tables; run the migrations first\n")
        return 1
    except (asyncpg.PostgresError, subprocess.SubprocessError, OSError, TimeoutError) as error:
        sys.stderr.write(f"seed: the database, the store or ffmpeg did not answer: {error!r}\n")
        return 1
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        sys.stderr.write(f"seed: the store refused: {error!r}; make the bucket first\n")
        return 1
    log.info(
        "seed_done",
        users=written.users,
        videos=written.videos,
        thumbnails=written.thumbnails,
        duration_ms=round((time.perf_counter() - started) * 1000),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
