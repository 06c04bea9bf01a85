"""What owners do with their videos over HTTP, and views that count once; on real PostgreSQL, Valkey and S3."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.seed.world import build_world
from tests.app.api.asgi import Answer, call
from tests.app.api.test_streaming import PUBLISH, published
from tests.app.system import query
from tests.app.uploading import (
    ADMIN,
    ANOTHER_CREATOR,
    CREATOR,
    VIEWER,
    bearer,
    clip,
    new_key,
    patiently,
    upload,
    video_id,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.app.system import System

VIDEO = build_world().videos[0]
ANOTHER = build_world().videos[1]
COUNT = "SELECT coalesce(sum(views), 0)::bigint FROM video_view_counts WHERE video_id = $1"


async def send(
    app: FastAPI, system: System, method: str, path: str, user: Any = CREATOR, **headers: str
) -> Answer:
    """Send a request of a user; None is nobody."""
    sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if user is not None:
        sent.append(("Authorization", bearer(system, user)))
    return await call(app, method, f"/api/v1{path}", headers=sent)


async def test_own_list(app: FastAPI, system: System) -> None:
    """An owner's list has all that is theirs, newest first, each once, with what became of it."""
    keys = [new_key() for _ in range(3)]
    for key in keys:
        await upload(app, system, clip(), key)
    failed = "UPDATE videos SET status = 'failed', failure_reason = 'no picture' WHERE id = $1"
    await query(system, failed, video_id(keys[0]))
    await query(system, PUBLISH, video_id(keys[1]))
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await send(app, system, "GET", f"/videos/mine?limit=2&cursor={cursor}")).json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    ids = [item["id"] for item in items]
    assert ids[:3] == [str(video_id(key)) for key in reversed(keys)]
    assert len(ids) == len(set(ids))
    assert [item["status"] for item in items[:3]] == ["processing", "published", "failed"]
    assert items[2]["failure_reason"] == "no picture"
    assert {str(v.id) for v in build_world().videos if v.owner_id == CREATOR.id} <= set(ids)
    assert (await send(app, system, "GET", "/videos/mine", None)).status == 401


@pytest.mark.parametrize("who", [CREATOR, ADMIN])
async def test_delete(app: FastAPI, system: System, who: Any) -> None:
    """A deleted video is gone at once from every read, cached or not; its objects are asked to be removed."""
    video = await published(app, system)
    page = f"/videos/{video.id}"
    reads = (page, f"{page}/stream", "/videos?limit=7", "/videos/trending")
    await app.state.services.videos._cache.delete("videos:first:7")
    for read in reads:
        assert (await send(app, system, "GET", read, None)).status == 200
    assert str(video.id) in (await send(app, system, "GET", "/videos?limit=7", None)).body.decode()
    deleted = await send(app, system, "DELETE", page, who)
    task = "SELECT task FROM outbox WHERE subject = $1 ORDER BY id DESC LIMIT 1"

    assert (deleted.status, deleted.body) == (204, b"")
    assert await query(system, task, video.id) == "delete_objects"
    for user in (None, CREATOR, ADMIN):
        for read in (page, f"{page}/stream"):
            assert (await send(app, system, "GET", read, user)).status == 404
        for read in ("/videos?limit=7", "/videos/trending"):
            shown = await send(app, system, "GET", read, user)
            assert str(video.id) not in shown.body.decode()
    own = await send(app, system, "GET", "/videos/mine")
    assert str(video.id) not in own.body.decode()
    assert (await send(app, system, "POST", f"{page}/views", None)).status == 404
    assert (await send(app, system, "DELETE", page, who)).status == 404


async def test_copies_of_a_deleted_video(app: FastAPI, system: System) -> None:
    """What was put into the cache after the deletion, by a read that had begun before, is not shown."""
    video = await published(app, system)
    services = app.state.services
    copies = [await services.videos.detail(video.id), await services.videos.page(9, None)]
    await send(app, system, "DELETE", f"/videos/{video.id}")
    cache = services.videos._cache
    for key, copy in zip((f"video:{video.id}", "videos:first:9"), copies, strict=True):
        await cache._redis.set(key, copy)

    assert (await send(app, system, "GET", f"/videos/{video.id}", None)).status == 404
    shown = await send(app, system, "GET", "/videos?limit=9", None)
    assert str(video.id) not in shown.body.decode()
    await cache.delete("videos:first:9")


async def test_who_may_delete(app: FastAPI, system: System) -> None:
    """Others get 403 for what they can see, 404 for what they cannot, and nothing changes."""
    public = await published(app, system)
    key = new_key()
    await upload(app, system, clip(), key)
    for user in (ANOTHER_CREATOR, VIEWER):
        assert (await send(app, system, "DELETE", f"/videos/{public.id}", user)).status == 403
        assert (await send(app, system, "DELETE", f"/videos/{video_id(key)}", user)).status == 404
    assert (await send(app, system, "DELETE", f"/videos/{public.id}", None)).status == 401
    assert (await send(app, system, "DELETE", f"/videos/{uuid4()}")).status == 404
    for name in ("mine", "trending"):
        refused = await send(app, system, "DELETE", f"/videos/{name}")
        assert (refused.status, refused.headers["allow"]) == (405, "GET")

    assert (await send(app, system, "GET", f"/videos/{public.id}", None)).status == 200


async def test_upload_again_after_deletion(app: FastAPI, system: System) -> None:
    """The key of an upload whose video was deleted brings it back by no way: 409."""
    key, body = new_key(), clip()
    await upload(app, system, body, key)
    await send(app, system, "DELETE", f"/videos/{video_id(key)}")

    assert (await upload(app, system, body, key)).status == 409


async def test_view_counts_once(app: FastAPI, system: System) -> None:
    """A view that is sent again with its id gets its receipt again and is counted once, also at the same time."""
    before = await query(system, COUNT, VIDEO.id)
    view = str(uuid4())
    path = f"/videos/{VIDEO.id}/views"
    first = await send(app, system, "POST", path, None, Idempotency_Key=view)
    again = await asyncio.gather(
        *(send(app, system, "POST", path, None, Idempotency_Key=view) for _ in range(10))
    )

    receipt = {"view_id": view, "video_id": str(VIDEO.id)}
    assert [(answer.status, answer.json()) for answer in (first, *again)] == [(202, receipt)] * 11
    assert await query(system, COUNT, VIDEO.id) == before + 1
    assert app.state.metrics.registry.get_sample_value("views_total") == 1


async def test_new_views_at_the_same_time(app: FastAPI, system: System) -> None:
    """The same new view from many at once is counted once; different ones are all counted."""
    before = await query(system, COUNT, VIDEO.id)
    views = [str(uuid4()) for _ in range(10)] * 4
    path = f"/videos/{VIDEO.id}/views"
    again = partial(send, app, system, "POST", path, None)
    answers = await asyncio.gather(
        *(patiently(partial(again, Idempotency_Key=view)) for view in views)
    )

    assert {answer.status for answer in answers} == {202}
    assert await query(system, COUNT, VIDEO.id) == before + 10


async def test_view_of_another_video(app: FastAPI, system: System) -> None:
    """The id of a view of another video is refused, and counted nowhere; so is what is no id."""
    view = str(uuid4())
    await send(app, system, "POST", f"/videos/{VIDEO.id}/views", None, Idempotency_Key=view)
    before = await query(system, COUNT, ANOTHER.id)
    path = f"/videos/{ANOTHER.id}/views"
    other = await send(app, system, "POST", path, None, Idempotency_Key=view)
    no_id = await send(app, system, "POST", path, None, Idempotency_Key="1")

    assert (other.status, no_id.status) == (422, 422)
    assert await query(system, COUNT, ANOTHER.id) == before
