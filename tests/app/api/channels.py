"""What the tests of live channels share: who sends, who watches, what is shown."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from app.seed.world import build_world
from tests.app.api.asgi import Answer, call
from tests.app.people import Person

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

WORLD = build_world()
DEMO, STUDIO = WORLD.channels
CREATORS = [user.username for user in WORLD.users if user.role == "creator"]
PLAYLIST = "application/vnd.apple.mpegurl"
WAIT_S = 20.0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `condition` holds; fail when it does not come true in time."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.05)


async def creator(app: FastAPI, number: int) -> Person:
    """Return one of the creators, logged in."""
    person = Person(app, CREATORS[number])

    async def arrived() -> bool:
        # A machine that is busy with other tests may make the database late, which is not the claim here.
        return (await person.log_in()).status == 200

    await until(arrived)
    return person


async def playlist(app: FastAPI, name: str) -> Answer:
    """Ask for a channel's playlist."""
    return await call(app, "GET", f"/api/v1/live/{name}/index.m3u8")


async def segment(app: FastAPI, name: str, file: str, **headers: str) -> Answer:
    """Ask for a file of a channel."""
    path = f"/api/v1/live/{name}/segments/{file}"
    return await call(app, "GET", path, headers=list(headers.items()))


def named(answer: Answer) -> list[str]:
    """Return the files that a playlist names."""
    return re.findall(r"^segments/([^/\n]+)$", answer.body.decode(), re.MULTILINE)


def shows(answer: Answer) -> str:
    """Return what an answer is: live, vod, or its status; with a star when it is degraded."""
    kind = str(answer.status)
    if answer.status == 200:
        assert answer.headers["content-type"] == PLAYLIST
        kind = "vod" if b"#EXT-X-ENDLIST" in answer.body else "live"
    return kind + ("*" if answer.headers.get("x-degraded") == "live" else "")


def sample(app: FastAPI, name: str, /, **labels: str) -> float:
    """Return one metric."""
    return app.state.metrics.registry.get_sample_value(name, labels) or 0.0


async def is_live(app: FastAPI, name: str) -> bool:
    """Tell whether a channel's own playlist is shown."""
    return shows(await playlist(app, name)) == "live"
