"""Who may do what with live channels, and what is refused before anybody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.services.channels import MAX_PER_OWNER
from tests.app.api.asgi import call
from tests.app.api.channels import DEMO, STUDIO, creator, is_live, playlist, segment
from tests.app.people import visitor
from tests.app.system import query

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.services.live import LiveService
    from tests.app.system import System


@pytest.fixture
def live(app: FastAPI) -> LiveService:
    """The service of the application."""
    service: LiveService = app.state.services.live
    return service


async def test_who_may(app: FastAPI) -> None:
    """Only creators start channels, only owners start and stop theirs, and nobody has more than a few."""
    owner, other, viewer = await creator(app, 5), await creator(app, 6), visitor(app)
    await viewer.arrive()
    for method in ("PUT", "DELETE"):
        path = f"/live/channels/{STUDIO.name}"
        assert (await call(app, method, f"/api/v1{path}")).status == 401
        assert (await viewer.send(method, path)).status == 403
        assert (await other.send(method, path)).status == 403
    assert (await owner.send("PUT", "/live/channels/channels")).status == 409
    for number in range(MAX_PER_OWNER):
        assert (await owner.send("PUT", f"/live/channels/mine-{number}")).status == 200
        assert (await owner.send("DELETE", f"/live/channels/mine-{number}")).status == 202
    assert (await owner.send("PUT", "/live/channels/one-too-many")).status == 409
    assert (await owner.send("PUT", "/live/channels/mine-0")).status == 200
    assert (await other.send("DELETE", "/live/channels/mine-0")).status == 403
    assert await is_live(app, "mine-0")
    assert (await owner.send("DELETE", "/live/channels/mine-0")).status == 202
    assert (await call(app, "GET", "/api/v1/live/one-too-many")).status == 404


async def test_a_creator_of_yesterday_starts_nothing(app: FastAPI, system: System) -> None:
    """The role that counts is that of now, not that of the token."""
    person = await creator(app, 7)
    role = "UPDATE users SET role = $2 WHERE username = $1"
    await query(system, role, person.username, "viewer")
    try:
        assert (await person.send("PUT", "/live/channels/late")).status == 403
    finally:
        await query(system, role, person.username, "creator")


HOSTILE = (
    "..",
    "%2e%2e",
    "One",
    "-one",
    "one two",
    "one.",
    "one%00",
    "a" * 64,
    "öne",
    "*",
    "{name}",
)
HOSTILE_FILES = (
    *("1.mp4", "1.ts.tmp", "x.ts", "-1.ts", "1" * 21 + ".ts", "..%2f1.ts", "1.ts%00", "1.TS"),
    *("index.m3u8", "channel.json", f"{DEMO.recording_id}.MP4", f"{DEMO.recording_id}", "٣.ts"),
)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names(app: FastAPI, live: LiveService, name: str) -> None:
    """A name of another form never reaches the origin or the database: 404 or 422."""
    asked: list[object] = []
    live._origin._ask = asked.append  # type: ignore[method-assign,assignment]
    owner = await creator(app, 8)
    answers = [
        await owner.send("PUT", f"/live/channels/{name}"),
        await owner.send("DELETE", f"/live/channels/{name}"),
        await playlist(app, name),
        await segment(app, name, "1.ts"),
        await call(app, "GET", f"/api/v1/live/{name}"),
    ]

    assert {answer.status for answer in answers} <= {404, 422}
    assert asked == []


@pytest.mark.parametrize("file", HOSTILE_FILES)
async def test_hostile_files(app: FastAPI, live: LiveService, file: str) -> None:
    """A file of another form never reaches the origin or the store: 404 or 422."""
    asked: list[object] = []
    live._origin._ask = asked.append  # type: ignore[method-assign,assignment]
    assert (await segment(app, DEMO.name, file)).status in {404, 422}
    assert asked == []


async def test_channels_are_listed_by_name(app: FastAPI) -> None:
    """Following the cursors meets every channel once, in order, and never more than was asked for at a time."""
    names: list[str] = []
    cursor = ""
    while True:
        answer = await call(app, "GET", f"/api/v1/live/channels?limit=1{cursor}")
        page = answer.json()
        names += [item["name"] for item in page["items"]]
        assert len(page["items"]) <= 1
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert names == sorted(set(names))
    assert {DEMO.name, STUDIO.name} <= set(names)
    for query_string in ("limit=0", "limit=101", "cursor=..", "cursor=" + "a" * 64):
        assert (await call(app, "GET", f"/api/v1/live/channels?{query_string}")).status == 422
