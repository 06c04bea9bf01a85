"""Uploads over HTTP, on real PostgreSQL, Valkey and S3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.api.middleware import protection
from app.core.errors import UnavailableError
from app.services.upload import UploadRequest, UploadService
from tests.app.api.asgi import Call, call
from tests.app.conftest import until
from tests.app.system import System, query, serving
from tests.app.uploading import (
    ACCEPTED,
    ANOTHER_CREATOR,
    CREATOR,
    NOTHING,
    PATH,
    VIEWER,
    Traces,
    bearer,
    clip,
    digest_of,
    new_key,
    sha256,
    traces,
    upload,
    video_id,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import Message

PROBLEM = "application/problem+json"
LEFT_BEHIND = Traces(parts=0, intents=1, videos=0, tasks=0, objects=1)


def _result(app: FastAPI, result: str) -> float:
    registry = app.state.metrics.registry
    return registry.get_sample_value("uploads_total", {"result": result}) or 0.0


async def test_receipt(app: FastAPI, system: System) -> None:
    """202 names a video whose row, task and object are there, with the checksum of what was sent; its owner sees it."""
    key, body = new_key(), clip()
    answer = await upload(app, system, body, key, Content_Digest=digest_of(body))

    assert answer.status == 202, answer.body
    assert answer.json() == {
        "video_id": str(video_id(key)),
        "status": "processing",
        "size_bytes": len(body),
        "checksum_sha256": sha256(body),
    }
    assert await traces(system, key) == ACCEPTED
    assert _result(app, "accepted") == 1
    path = f"/api/v1/videos/{video_id(key)}"
    own = await call(app, "GET", path, headers=[("Authorization", bearer(system))])
    assert (own.status, own.json()["status"], own.json()["title"]) == (
        200,
        "processing",
        "A small clip",
    )
    assert (await call(app, "GET", path)).status == 404
    stranger = [("Authorization", bearer(system, ANOTHER_CREATOR))]
    assert (await call(app, "GET", path, headers=stranger)).status == 404
    correlation = "SELECT correlation_id FROM outbox WHERE subject = $1"
    assert await query(system, correlation, video_id(key)) == answer.headers["x-request-id"]


async def test_the_same_again(app: FastAPI, system: System) -> None:
    """The same key with the same bytes gets the same receipt, and there is one video."""
    key, body = new_key(), clip()
    first, second = [await upload(app, system, body, key) for _ in range(2)]

    assert (first.status, second.status) == (202, 200)
    assert first.json() == second.json()
    assert await traces(system, key) == ACCEPTED
    assert _result(app, "replayed") == 1


async def test_the_same_at_the_same_time(app: FastAPI, system: System) -> None:
    """Several attempts of one upload at once all get its receipt, and there is one video."""
    for _ in range(5):
        key, body = new_key(), clip(5000)
        answers = await asyncio.gather(*(upload(app, system, body, key) for _ in range(4)))

        assert sorted(answer.status or 0 for answer in answers) == [200, 200, 200, 202]
        assert len({answer.body for answer in answers}) == 1
        assert await traces(system, key) == ACCEPTED


@pytest.mark.parametrize("digest", [False, True])
async def test_other_content(app: FastAPI, system: System, *, digest: bool) -> None:
    """Other bytes under a key that was used are refused, and what was stored stays as it is."""
    key, body, other = new_key(), clip(), clip()
    await upload(app, system, body, key)
    headers = {"Content_Digest": digest_of(other)} if digest else {}
    answer = await upload(app, system, other, key, **headers)

    assert (answer.status, answer.headers["content-type"]) == (422, PROBLEM)
    assert await traces(system, key) == ACCEPTED
    assert (await upload(app, system, body, key)).json()["checksum_sha256"] == sha256(body)


async def test_other_content_at_the_same_time(app: FastAPI, system: System) -> None:
    """Of two contents under one key at once one is taken, whole, and the other refused."""
    key, bodies = new_key(), [clip(600_000), clip(600_000)]
    answers = await asyncio.gather(*(upload(app, system, body, key) for body in bodies))

    assert sorted(answer.status or 0 for answer in answers) == [202, 422]
    [taken] = [body for body, answer in zip(bodies, answers, strict=True) if answer.status == 202]
    stored = await call(
        app,
        "GET",
        f"/api/v1/videos/{video_id(key)}/stream",
        headers=[("Authorization", bearer(system))],
    )
    assert stored.body == taken
    assert await traces(system, key) == ACCEPTED


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Digest": digest_of(b"something else")}, 422),
        ({"Content_Digest": "sha-256=:bm90IDMyIGJ5dGVz:"}, 400),
        ({"Content_Digest": "sha-256=none"}, 400),
        ({"Content_Length": "19999"}, 400),
        ({"Content_Length": "20001"}, 400),
        ({"Content_Length": str(1 << 40)}, 413),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Idempotency_Key": "short"}, 422),
        ({"Idempotency_Key": "../../../../etc/passwd"}, 422),
        ({"Idempotency_Key": "k" * 65}, 422),
        ({"Authorization": "Bearer nobody"}, 401),
    ],
)
async def test_refused_headers(
    app: FastAPI, system: System, headers: dict[str, str], status: int
) -> None:
    """What contradicts the body or names no upload is a problem, and nothing is left."""
    key = new_key()
    answer = await upload(app, system, clip(20_000), key, **headers)

    assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM), answer.body
    assert await traces(system, key) == NOTHING


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"#!/bin/sh\n",
        b"\x89PNG\r\n\x1a\n".ljust(5000, b"\0"),
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\0" * 3_000_000,
    ],
)
async def test_no_video(app: FastAPI, system: System, body: bytes) -> None:
    """A file that is no video by its first bytes is 415, whatever its header says, and nothing is left."""
    key = new_key()
    answer = await upload(app, system, body, key, Content_Type="video/mp4")

    assert (answer.status, answer.headers["content-type"]) == (415, PROBLEM)
    assert await traces(system, key) == NOTHING
    assert _result(app, "refused") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/videos",
        "/api/v1/videos?title=",
        "/api/v1/videos?title=%00",
        "/api/v1/videos?title=" + "t" * 201,
        PATH + "&description=%00",
    ],
)
async def test_refused_words(app: FastAPI, system: System, path: str) -> None:
    """A title that is none is 422."""
    key = new_key()
    assert (await upload(app, system, clip(), key, path=path)).status == 422
    assert await traces(system, key) == NOTHING


async def test_traversal_in_a_title(app: FastAPI, system: System) -> None:
    """A title that looks like a path is a title: the object's key follows from ids alone."""
    key = new_key()
    path = "/api/v1/videos?title=..%2F..%2F..%2Fetc%2Fpasswd"
    answer = await upload(app, system, clip(), key, path=path)

    assert answer.status == 202
    assert await traces(system, key) == ACCEPTED


async def test_who_may(app: FastAPI, system: System) -> None:
    """Viewers get 403; so does who was a creator when the token was made and is none now; nobody gets 401."""
    key, body = new_key(), clip()
    viewer = await upload(app, system, body, key, Authorization=bearer(system, VIEWER))
    nobody = await upload(app, system, body, key, Authorization="")
    demote = "UPDATE users SET role = $2 WHERE id = $1"
    await query(system, demote, CREATOR.id, "viewer")
    try:
        demoted = await upload(app, system, body, key)
    finally:
        await query(system, demote, CREATOR.id, "creator")

    assert (viewer.status, nobody.status, demoted.status) == (403, 401, 403)
    assert await traces(system, key) == NOTHING
    assert await traces(system, key, VIEWER) == NOTHING


async def test_too_large(system: System) -> None:
    """A body over the limit is 413 although its Content-Length said nothing of it, and nothing is left."""
    key, body = new_key(), clip(100_000)
    async with serving(system.settings(max_upload_bytes=50_000)) as app:
        honest = await upload(app, system, body, key)
        silent = await _chunked(app, system, key, body)

    assert (honest.status, silent.status) == (413, 413)
    assert await traces(system, key) == NOTHING


async def _chunked(app: FastAPI, system: System, key: str, body: bytes) -> _Pieces:
    headers = [("Authorization", bearer(system)), ("Idempotency-Key", key)]
    path, _, query_string = PATH.partition("?")
    one = _Pieces(app, "POST", path, query_string, headers, pieces=[body[:1000], body[1000:]])
    await one.run()
    return one


class _Pieces(Call):
    """A request whose body comes in pieces, and then no more."""

    def __init__(self, *arguments: object, pieces: list[bytes], leaves: bool = False) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.pieces = pieces
        self.leaves = leaves

    @property
    def status(self) -> int | None:
        """Return the answer's."""
        return self.answer.status

    async def _receive(self) -> Message:
        if self.pieces:
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": True}
        if not self.leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


async def test_slow_body(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that stops coming is 408, and nothing is left."""
    monkeypatch.setattr(protection, "UPLOAD_IDLE_S", 0.2)
    key = new_key()
    async with serving(system.settings()) as app:
        stopped = await _chunked(app, system, key, clip(1500))
        assert _result(app, "aborted") == 1

    assert stopped.status == 408
    assert stopped.answer.headers["connection"] == "close"
    assert await traces(system, key) == NOTHING


async def test_full_house(system: System) -> None:
    """More than what may arrive at the same time is 507, says when to try again, and leaves nothing."""
    key, body = new_key(), clip(60_000)
    async with serving(system.settings(max_upload_bytes=50_000)) as app:
        incoming = app.state.services.uploads.incoming
        async with incoming.part(50_000), incoming.part(49_000):
            answer = await upload(app, system, body[:45_000], key)
        assert (answer.status, answer.headers["retry-after"]) == (507, "5")
        assert _result(app, "failed") == 1

    assert await traces(system, key) == NOTHING


async def test_store_away(tmp_path: Path, system: System) -> None:
    """While the store is away a receipt is given for what is pinned here, and it can be read; the answer says so."""
    key, body = new_key(), clip()
    settings = system.settings(s3_endpoint="127.0.0.1:1", local_store_dir=tmp_path / "local")
    async with serving(settings) as app:
        answer = await upload(app, system, body, key)
        own = [("Authorization", bearer(system))]
        stored = await call(app, "GET", f"/api/v1/videos/{video_id(key)}/stream", headers=own)

    assert (answer.status, answer.headers["x-degraded"]) == (202, "storage")
    assert (stored.status, stored.body) == (200, body)
    assert (await traces(system, key)).videos == 1


class _Pausing:
    """The real storage, which waits after each file until it may go on."""

    def __init__(self, app: FastAPI) -> None:
        self._storage = app.state.services.storage
        self.stored = asyncio.Event()
        self.go_on = asyncio.Event()

    async def put_file(self, key: str, path: Path, content_type: str, checksum: str) -> str:
        """Store, tell, wait."""
        kept_by: str = await self._storage.put_file(key, path, content_type, checksum)
        self.stored.set()
        await self.go_on.wait()
        return kept_by


async def _body(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _paused(app: FastAPI, system: System) -> tuple[UploadService, _Pausing]:
    pausing = _Pausing(app)
    uploads = app.state.services.uploads
    service = UploadService(system.settings(), uploads._database, pausing, app.state.metrics)
    return service, pausing


async def test_cancelled_while_it_is_stored(app: FastAPI, system: System) -> None:
    """An upload that ends between its object and its row leaves an intent that says so; the next one completes it."""
    key, body = new_key(), clip()
    service, pausing = _paused(app, system)
    request = UploadRequest(CREATOR.id, key, "A small clip")
    attempt = asyncio.create_task(service.receive(request, _body(body)))
    await pausing.stored.wait()
    attempt.cancel()
    await asyncio.wait([attempt])

    assert attempt.cancelled()
    assert await traces(system, key) == LEFT_BEHIND
    assert (await upload(app, system, body, key)).status == 202
    assert await traces(system, key) == ACCEPTED


async def test_given_up_while_it_is_stored(app: FastAPI, system: System) -> None:
    """An upload whose intent was settled meanwhile, with its object perhaps, is not acknowledged."""
    key, body = new_key(), clip()
    service, pausing = _paused(app, system)
    request = UploadRequest(CREATOR.id, key, "A small clip")
    attempt = asyncio.create_task(service.receive(request, _body(body)))
    await pausing.stored.wait()
    await query(system, "DELETE FROM uploads WHERE video_id = $1", video_id(key))
    pausing.go_on.set()
    with pytest.raises(UnavailableError):
        await attempt

    # Its intent is there again, since its object may be.
    assert await traces(system, key) == LEFT_BEHIND


async def test_client_leaves(app: FastAPI, system: System) -> None:
    """A client that goes away in the middle of its body leaves nothing."""
    key, body = new_key(), clip(400_000)
    headers = [("Authorization", bearer(system)), ("Idempotency-Key", key)]
    path, _, query_string = PATH.partition("?")
    one = _Pieces(app, "POST", path, query_string, headers, pieces=[body], leaves=True)
    await one.run()

    assert one.status is None
    assert _result(app, "aborted") == 1
    assert await traces(system, key) == NOTHING


async def test_database_away(app: FastAPI, system: System) -> None:
    """Without the database nothing is acknowledged: 503 before the body is read, and nothing is left."""
    key = new_key()
    system.postgres.stop()
    try:
        answer = await upload(app, system, clip(), key)
    finally:
        system.postgres.resume()
    await until(lambda: not app.state.services.health.report().critical_failures)

    assert answer.status in {503, 504}
    assert await traces(system, key) == NOTHING
