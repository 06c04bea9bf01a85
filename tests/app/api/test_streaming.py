"""Watching videos over HTTP, on real PostgreSQL, Valkey and S3."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from app.seed.world import VIDEOS, build_world
from app.services.media import rendition_key, source_key
from tests.app.api.asgi import Answer, call
from tests.app.conftest import until
from tests.app.system import System, query, serving
from tests.app.uploading import (
    ADMIN,
    ANOTHER_CREATOR,
    bearer,
    clip,
    new_key,
    patiently,
    sha256,
    upload,
    video_id,
)

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from fastapi import FastAPI

PROBLEM = "application/problem+json"
SIZE = 1_300_000
PUBLISH = "UPDATE videos SET status = 'published', published_at = now() WHERE id = $1"
RENDITION = """
    INSERT INTO renditions (video_id, name, key, height, size_bytes, checksum_sha256)
    VALUES ($1, $2, $3, 480, $4, $5)
"""


class Video:
    """A video that was published, with a file of several pieces."""

    def __init__(self, body: bytes, video: UUID) -> None:
        self.body = body
        self.id = video
        self.etag = f'"{sha256(body)}"'
        self.path = f"/api/v1/videos/{video}/stream"


@pytest.fixture
async def video(app: FastAPI, system: System) -> Video:
    """Return a published video."""
    return await published(app, system)


async def published(app: FastAPI, system: System) -> Video:
    """Upload and publish a video."""
    key, body = new_key(), clip(SIZE)
    answer = await patiently(lambda: upload(app, system, body, key))
    assert answer.status in {200, 202}, answer.body
    await query(system, PUBLISH, video_id(key))
    return Video(body, video_id(key))


async def watch(app: FastAPI, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask for a video, or a part of it."""
    sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await call(app, method, path, headers=sent)


async def test_whole(app: FastAPI, video: Video) -> None:
    """All of it is 200, with size, type, tag and the offer of ranges; it is the bytes that were uploaded."""
    answer = await watch(app, video.path)

    assert (answer.status, answer.body == video.body) == (200, True)
    headers = answer.headers
    assert headers["content-length"] == str(SIZE)
    assert headers["content-type"] == "video/mp4"
    assert headers["etag"] == video.etag
    assert headers["accept-ranges"] == "bytes"
    assert headers["cache-control"] == "no-cache"
    assert "x-degraded" not in headers


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=600000-1200000", 600_000, 1_200_001),
        ("bytes=-1000", SIZE - 1000, SIZE),
        ("bytes=1299999-", SIZE - 1, SIZE),
        ("bytes=0-", 0, SIZE),
    ],
)
async def test_ranges(app: FastAPI, video: Video, asked: str, start: int, end: int) -> None:
    """The first bytes, the middle, the end: 206 with exactly those bytes."""
    answer = await watch(app, video.path, Range=asked)

    assert (answer.status, answer.body == video.body[start:end]) == (206, True)
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == video.etag


async def test_behind_the_end(app: FastAPI, video: Video) -> None:
    """A range behind the end is a 416 problem that tells the size."""
    answer = await watch(app, video.path, Range=f"bytes={SIZE}-")

    assert (answer.status, answer.headers["content-type"]) == (416, PROBLEM)
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


async def test_if_range(app: FastAPI, video: Video) -> None:
    """Who has the beginning of these bytes gets the part; who has another's gets all."""
    same = await watch(app, video.path, Range="bytes=0-9", If_Range=video.etag)
    other = await watch(app, video.path, Range="bytes=0-9", If_Range='"another"')

    assert (same.status, len(same.body)) == (206, 10)
    assert (other.status, len(other.body)) == (200, SIZE)


async def test_unchanged(app: FastAPI, video: Video) -> None:
    """Who has it gets 304 without a body, also on HEAD; who has something else gets it."""
    for method in ("GET", "HEAD"):
        answer = await watch(app, video.path, method, If_None_Match=f'"x", {video.etag}')
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", video.etag)
    assert (await watch(app, video.path, If_None_Match='"x"')).status == 200


async def test_head(app: FastAPI, video: Video) -> None:
    """HEAD gives the headers of GET, without a body, whatever range is asked for."""
    got = await watch(app, video.path)
    head = await watch(app, video.path, "HEAD", Range="bytes=0-9")

    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "cache-control"):
        assert head.headers[name] == got.headers[name]


async def test_renditions(app: FastAPI, system: System, video: Video, tmp_path: Path) -> None:
    """Each form is there under its name; without a name it is the one that most can show; the page lists them."""
    small = clip(5000)
    file, key = tmp_path / "480p.mp4", rendition_key(video.id, "480p")
    file.write_bytes(small)
    await app.state.services.storage.put_file(key, file, "video/mp4", sha256(small))
    await query(system, RENDITION, video.id, "480p", key, len(small), sha256(small))

    assert (await watch(app, video.path)).body == small
    assert (await watch(app, f"{video.path}?rendition=480p")).body == small
    assert (await watch(app, f"{video.path}?rendition=source")).body == video.body
    assert (await watch(app, f"{video.path}?rendition=1080p")).status == 404
    assert (await watch(app, f"{video.path}?rendition=..%2Fsource")).status == 422
    page = await call(app, "GET", f"/api/v1/videos/{video.id}")
    assert page.json()["renditions"] == [
        {
            "name": "480p",
            "height": 480,
            "size_bytes": 5000,
            "url": f"{video.path}?rendition=480p",
        }
    ]


async def test_who_may_watch(app: FastAPI, system: System) -> None:
    """What is not public is there for its owner and for administrators, and for nobody else."""
    key, body = new_key(), clip()
    await upload(app, system, body, key)
    path = f"/api/v1/videos/{video_id(key)}/stream"
    owner = await watch(app, path, Authorization=bearer(system))
    admin = await watch(app, path, Authorization=bearer(system, ADMIN))
    other = await watch(app, path, Authorization=bearer(system, ANOTHER_CREATOR))
    broken = await watch(app, path, Authorization="Bearer nonsense")
    nobody = await watch(app, path)

    assert (owner.status, admin.status) == (200, 200)
    assert owner.headers["cache-control"] == "private, no-cache"
    assert (other.status, broken.status, nobody.status) == (404, 404, 404)
    await query(system, PUBLISH, video_id(key))
    assert (await watch(app, path)).body == body


async def test_store_away(system: System, tmp_path: Path) -> None:
    """While the store is away what is kept here is served and says so; what is not is 503, with Retry-After."""
    settings = system.settings(local_store_dir=tmp_path / "local")
    async with serving(settings) as app:
        small, large = new_key(), await published(app, system)
        body = clip(9000)
        await upload(app, system, body, small)
        await query(system, PUBLISH, video_id(small))
        path = f"/api/v1/videos/{video_id(small)}/stream"
        await watch(app, path)
        await app.state.services.storage.delete(source_key(large.id))
        system.object_store.stop()
        try:
            kept = await watch(app, path, Range="bytes=10-19")
            gone = await watch(app, large.path)
        finally:
            system.object_store.resume()
        await until(lambda: not app.state.services.health.report().optional_failures)

    assert (kept.status, kept.body) == (206, body[10:20])
    assert kept.headers["x-degraded"] == "storage"
    assert (gone.status, "retry-after" in gone.headers) == (503, True)


async def test_seeded_videos_can_be_watched(app: FastAPI, system: System) -> None:
    """Every seeded video has a clip of its own, with the checksum that its row says."""
    etags = set()
    for video in build_world().videos:
        answer = await patiently(partial(watch, app, f"/api/v1/videos/{video.id}/stream"))
        assert (answer.status, answer.headers["etag"]) == (200, f'"{sha256(answer.body)}"')
        etags.add(answer.headers["etag"])

    assert len(etags) == VIDEOS
    assert await query(system, "SELECT count(*) FROM videos WHERE checksum_sha256 IS NULL") == 0


async def test_missing_object(app: FastAPI, video: Video) -> None:
    """An object that the store does not have is 404, not an error of the server."""
    await app.state.services.storage.delete(source_key(video.id))

    assert (await watch(app, video.path)).status == 404
