"""Videos over HTTP, on real PostgreSQL, Valkey and S3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from pydantic import TypeAdapter

from app.seed.world import build_world
from app.services.placeholder import PLACEHOLDER
from app.services.video import TrendingVideos, VideoDetail, VideoPage
from tests.app.api.asgi import Answer, call
from tests.app.people import Person, visitor
from tests.app.servers import free_port
from tests.app.system import query, serving

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from tests.app.system import System

VIDEO = build_world().videos[0]
DETAIL = f"/api/v1/videos/{VIDEO.id}"
UNKNOWN = "/api/v1/videos/00000000-0000-4000-8000-000000000000"


async def _database(system: System, query: str, *values: object) -> Any:
    url = system.environment["DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()


def _problem(answer: Answer) -> tuple[int | None, str, bool]:
    kind = answer.headers["content-type"]
    return answer.status, kind, answer.json()["correlation_id"] == answer.headers["x-request-id"]


async def test_pages_hold_every_video_once(app: FastAPI, system: System) -> None:
    """Following the cursors from the first page meets every public video exactly once, newest first."""
    items: list[dict[str, Any]] = []
    cursor = ""
    public: list[str] = await query(
        system,
        "SELECT array_agg(id::text) FROM videos WHERE published_at IS NOT NULL AND deleted_at IS NULL",
    )
    for _ in range(len(public)):
        answer = await call(app, "GET", f"/api/v1/videos?limit=50&cursor={cursor}")
        page = answer.json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    found = [item["id"] for item in items]
    assert sorted(found) == sorted(public)
    assert {str(video.id) for video in build_world().videos} <= set(found)
    assert [i["published_at"] for i in items] == sorted(
        (i["published_at"] for i in items), reverse=True
    )


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "cursor=zzz", "cursor=" + "A" * 500, "cursor=" + "-" * 32],
)
async def test_invalid_page(app: FastAPI, query: str) -> None:
    """A limit out of range or a cursor that was never given out is a 422 problem."""
    answer = await call(app, "GET", f"/api/v1/videos?{query}")

    assert _problem(answer) == (422, "application/problem+json", True)


async def test_detail(app: FastAPI) -> None:
    """A video's page shows what was seeded; the second answer is the same bytes out of the cache."""
    first, second = await call(app, "GET", DETAIL), await call(app, "GET", DETAIL)

    assert (first.json()["id"], first.json()["title"]) == (str(VIDEO.id), VIDEO.title)
    assert first.json()["views"] >= VIDEO.views
    assert first.body == second.body
    metrics = app.state.metrics.registry
    labels = {"operation": "get", "result": "hit"}
    assert metrics.get_sample_value("cache_operations_total", labels) >= 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/videos", VideoPage),
        ("/api/v1/videos/trending", TrendingVideos),
        (DETAIL, VideoDetail),
    ],
)
async def test_answers_match_their_schema(app: FastAPI, path: str, kind: type) -> None:
    """The bytes that are sent unseen are what the OpenAPI document promises: no field more, none less."""
    answer = await call(app, "GET", path)

    adapter: TypeAdapter[object] = TypeAdapter(kind)
    assert adapter.dump_python(adapter.validate_json(answer.body), mode="json") == answer.json()


async def test_trending(app: FastAPI, system: System) -> None:
    """Trending lists what was viewed most in the last seven days first, then what was viewed most ever."""
    quiet = min(build_world().videos, key=lambda video: video.views)
    loud = max(build_world().videos, key=lambda video: video.views)
    await _forget_cached(system)
    before = (await call(app, "GET", "/api/v1/videos/trending")).json()["items"]
    for _ in range(40):
        await call(app, "POST", f"/api/v1/videos/{quiet.id}/views")
    await _forget_cached(system)
    after = (await call(app, "GET", "/api/v1/videos/trending")).json()["items"]

    assert str(loud.id) in {item["id"] for item in before}
    assert after[0]["id"] == str(quiet.id)


async def test_view_is_durable(app: FastAPI, system: System) -> None:
    """The receipt names a row that the database has, and the count went up by one."""
    count = "SELECT sum(views)::bigint FROM video_view_counts WHERE video_id = $1"
    before = await _database(system, count, VIDEO.id)
    answer = await call(app, "POST", f"{DETAIL}/views")

    assert (answer.status, answer.json()["video_id"]) == (202, str(VIDEO.id))
    row = "SELECT video_id FROM video_views WHERE id = $1"
    assert await _database(system, row, answer.json()["view_id"]) == VIDEO.id
    assert await _database(system, count, VIDEO.id) == before + 1


async def test_concurrent_views_all_count(app: FastAPI, system: System) -> None:
    """Of many viewers at the same moment exactly those are counted who got a receipt."""
    count = "SELECT sum(views)::bigint FROM video_view_counts WHERE video_id = $1"
    before = await _database(system, count, VIDEO.id)
    answers = await asyncio.gather(*(call(app, "POST", f"{DETAIL}/views") for _ in range(50)))

    receipts = [answer.json()["view_id"] for answer in answers if answer.status == 202]
    assert len(set(receipts)) == len(receipts) > 0
    assert await _database(system, count, VIDEO.id) == before + len(receipts)
    assert app.state.metrics.registry.get_sample_value("views_total") == len(receipts)


async def test_view_keeps_the_cache(app: FastAPI) -> None:
    """A view clears no cached answer, since a popular video would never have one."""
    await call(app, "GET", DETAIL)
    await call(app, "POST", f"{DETAIL}/views")
    registry = app.state.metrics.registry
    misses = registry.get_sample_value(
        "cache_operations_total", {"operation": "get", "result": "miss"}
    )
    await call(app, "GET", DETAIL)

    after = registry.get_sample_value(
        "cache_operations_total", {"operation": "get", "result": "miss"}
    )
    assert after == misses


@pytest.mark.parametrize(("method", "path"), [("GET", UNKNOWN), ("POST", f"{UNKNOWN}/views")])
async def test_unknown_video(app: FastAPI, method: str, path: str) -> None:
    """A video that is not there is a 404 problem."""
    assert _problem(await call(app, method, path)) == (404, "application/problem+json", True)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/x"), ("POST", "/x/views"), ("GET", "/x/thumbnail"), ("GET", "/%00")],
)
async def test_malformed_id(app: FastAPI, method: str, path: str) -> None:
    """What is no id is a 422 problem, and never reaches the database."""
    answer = await call(app, method, f"/api/v1/videos{path}")

    assert _problem(answer) == (422, "application/problem+json", True)


async def test_thumbnail(app: FastAPI) -> None:
    """The thumbnail is the seeded PNG, and may be kept by browsers."""
    answer = await call(app, "GET", f"{DETAIL}/thumbnail")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body.startswith(b"\x89PNG")
    assert answer.body != PLACEHOLDER
    assert answer.headers["cache-control"] == "public, max-age=300"


async def test_without_cache(system: System) -> None:
    """With Redis refused all reads answer the same from the database, marked as degraded."""
    away = system.settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with serving(system.settings()) as healthy, serving(away) as app:
        for path in (DETAIL, "/api/v1/videos/trending", "/api/v1/videos?limit=3"):
            await _forget_cached(system)
            expected, answer = await call(healthy, "GET", path), await call(app, "GET", path)
            assert (answer.status, answer.headers.get("x-degraded")) == (200, "cache")
            assert answer.body == expected.body
            assert "x-degraded" not in expected.headers


async def test_without_store(system: System, tmp_path: Path) -> None:
    """With S3 refused a thumbnail is a placeholder that no browser keeps, marked as degraded."""
    away = system.settings(s3_endpoint=f"127.0.0.1:{free_port()}", local_store_dir=tmp_path)
    async with serving(away) as app:
        answer = await call(app, "GET", f"{DETAIL}/thumbnail")

    assert (answer.status, answer.headers["x-degraded"]) == (200, "storage")
    assert answer.body == PLACEHOLDER
    assert answer.headers["cache-control"] == "no-store"


async def test_without_database(system: System) -> None:
    """With PostgreSQL refused what is not cached is a 503 problem with Retry-After, and a view is not acknowledged."""
    await _forget_cached(system)
    url = f"postgresql+asyncpg://socialflow:socialflow@127.0.0.1:{free_port()}/socialflow"
    async with serving(system.settings(database_url=url)) as app:
        answers = [await call(app, "GET", DETAIL), await call(app, "POST", f"{DETAIL}/views")]

    for answer in answers:
        assert _problem(answer) == (503, "application/problem+json", True)
        assert int(answer.headers["retry-after"]) >= 1
        assert b"127.0.0.1" not in answer.body


async def _forget_cached(system: System) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", system.valkey.port)
    writer.write(b"FLUSHALL\r\n")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"+OK")
    writer.close()
    await writer.wait_closed()


async def test_owner_changes_a_video(app: FastAPI) -> None:
    """The owner's change is in the answer, and in the next reading, cached or not; what was not named stays."""
    owner = await _owner(app)
    before = (await call(app, "GET", DETAIL)).json()
    answer = await owner.send("PATCH", f"/videos/{VIDEO.id}", {"description": "Filmed anew."})
    after = (await call(app, "GET", DETAIL)).json()
    restored = await owner.send(
        "PATCH", f"/videos/{VIDEO.id}", {"description": before["description"]}
    )

    assert (answer.status, after) == (200, answer.json())
    assert after | {"views": 0} == before | {"description": "Filmed anew.", "views": 0}
    assert restored.json()["description"] == before["description"]


async def test_admin_changes_a_video(app: FastAPI) -> None:
    """Administrators may change the videos of others."""
    admin = Person(app, build_world().users[0].username)
    await admin.arrive()
    answer = await admin.send("PATCH", f"/videos/{VIDEO.id}", {"title": VIDEO.title})

    assert (answer.status, answer.json()["title"]) == (200, VIDEO.title)


async def test_others_change_no_video(app: FastAPI) -> None:
    """Other creators and viewers get 403, callers without a token 401, a video that is not there 404."""
    owner, viewer, nobody = await _owner(app), visitor(app), visitor(app)
    other = next(
        user
        for user in build_world().users
        if user.role == "creator" and user.username != owner.username
    )
    creator = Person(app, other.username)
    await creator.arrive()
    await viewer.arrive()
    change = {"title": "Mine now"}
    answers = [
        await who.send("PATCH", f"/videos/{VIDEO.id}", change) for who in (creator, viewer, nobody)
    ]
    missing = await owner.send("PATCH", UNKNOWN.removeprefix("/api/v1"), change)

    assert [answer.status for answer in (*answers, missing)] == [403, 403, 401, 404]
    assert (await call(app, "GET", DETAIL)).json()["title"] == VIDEO.title


@pytest.mark.parametrize(
    "change",
    [{}, {"title": ""}, {"title": " x"}, {"title": "a\u0000"}, {"title": None}, {"owner_id": "x"}],
)
async def test_changes_are_checked(app: FastAPI, change: dict[str, Any]) -> None:
    """An empty change, a title out of form and unknown fields are a 422."""
    owner = await _owner(app)

    assert (await owner.send("PATCH", f"/videos/{VIDEO.id}", change)).status == 422


async def test_change_without_cache(system: System) -> None:
    """With Redis refused the answer to a change shows the change."""
    away = system.settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with serving(away) as app:
        owner = await _owner(app)
        answer = await owner.send("PATCH", f"/videos/{VIDEO.id}", {"title": VIDEO.title})

    assert (answer.status, answer.json()["title"]) == (200, VIDEO.title)


async def _owner(app: FastAPI) -> Person:
    username = next(u.username for u in build_world().users if u.id == VIDEO.owner_id)
    person = Person(app, username)
    await person.arrive()
    return person
