"""Sources that many claims share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from redis.asyncio import Redis

from app.seed.clips import make_clip
from tests.app.worker.media import ffmpeg
from tests.app.worker.world import TITLE, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.app.system import System


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clip with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, seed=1)
    return path


@pytest.fixture(scope="session")
def wide_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that takes a second or two of work."""
    folder = tmp_path_factory.mktemp("wide")
    make_clip(folder / "second.mp4", seed=3, size=(1280, 720), seconds=1, sound=False)
    ffmpeg("-stream_loop", 5, "-i", folder / "second.mp4", "-c", "copy", folder / "wide.mp4")
    return folder / "wide.mp4"


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of 1080p: minutes of work, made of one second by copying."""
    folder = tmp_path_factory.mktemp("long")
    make_clip(folder / "second.mp4", seed=2, size=(1920, 1080), seconds=1, sound=False)
    ffmpeg("-stream_loop", 59, "-i", folder / "second.mp4", "-c", "copy", folder / "long.mp4")
    return folder / "long.mp4"


@pytest.fixture
async def place(system: System, tmp_path: Path) -> AsyncIterator[Place]:
    """The system with nothing to do and an empty broker."""
    url = system.environment["DATABASE_URL"].replace("+asyncpg", "")
    database = await asyncpg.connect(url, timeout=5)
    try:
        await database.execute("TRUNCATE outbox, processing_effects, processings, uploads")
        async with Redis.from_url(system.environment["BROKER_URL"]) as broker:
            await broker.flushdb()
        yield Place(system, tmp_path, database)
    finally:
        await database.execute("DELETE FROM videos WHERE title = $1", TITLE)
        await database.close()
