"""Live channels over HTTP, on a real origin: live, and the recording in its place when it is away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from app.infrastructure.live_origin import CALL_TIMEOUT_S
from tests.app.api.asgi import call
from tests.app.api.channels import (
    DEMO,
    STUDIO,
    creator,
    is_live,
    named,
    playlist,
    sample,
    segment,
    shows,
    until,
)
from tests.app.servers import free_port
from tests.app.system import query, serving

if TYPE_CHECKING:
    from uuid import UUID

    from fastapi import FastAPI

    from app.services.live import LiveService
    from tests.app.people import Person
    from tests.app.system import System

LATE_S = 0.5
"""What a busy machine may add to a limit."""
MANY = 30


@pytest.fixture
def live(app: FastAPI) -> LiveService:
    """The service of the application."""
    service: LiveService = app.state.services.live
    return service


async def test_a_channel_that_is_meant_to_be_live_starts_when_somebody_watches(
    app: FastAPI,
) -> None:
    """The seeded channel is brought live by its first viewers, and its segments are transport streams, cached."""
    await until(lambda: is_live(app, DEMO.name))
    files = named(await playlist(app, DEMO.name))
    assert files
    first, again = [await segment(app, DEMO.name, files[-1]) for _ in range(2)]

    assert first.status == again.status == 200
    assert first.headers["content-type"] == "video/mp2t"
    assert first.body == again.body
    assert set(first.body[::188]) == {0x47}
    assert sample(app, "live_requests_total", kind="segment", result="cached") == 1
    detail = (await call(app, "GET", f"/api/v1/live/{DEMO.name}")).json()
    assert (detail["mode"], detail["state"]) == ("live", "live")
    assert detail["playlist_url"] == f"/api/v1/live/{DEMO.name}/index.m3u8"


async def test_many_viewers_cost_the_origin_one_call(app: FastAPI, live: LiveService) -> None:
    """Viewers at the same moment share one answer of the origin, playlist and segment alike."""
    await until(lambda: is_live(app, DEMO.name))
    asked: list[str] = []
    get = live._origin._get

    async def counting(path: str, max_bytes: int) -> bytes | None:
        asked.append(path)
        return await get(path, max_bytes)

    live._origin._get = counting  # type: ignore[method-assign]
    live._playlists.forget(DEMO.name)
    answers = await asyncio.gather(*(playlist(app, DEMO.name) for _ in range(MANY)))
    files = named(answers[0])
    segments = await asyncio.gather(*(segment(app, DEMO.name, files[0]) for _ in range(MANY)))

    assert {shows(answer) for answer in answers} == {"live"}
    assert {answer.status for answer in segments} == {200}
    assert len(asked) == len(set(asked)) == 2


async def test_a_channel_that_is_offline_shows_its_recording(app: FastAPI) -> None:
    """A channel that is well and not live shows its last recording, which is no degradation, by ranges too."""
    answer = await playlist(app, STUDIO.name)
    assert shows(answer) == "vod"
    [file] = named(answer)
    whole = await segment(app, STUDIO.name, file)
    part = await segment(app, STUDIO.name, file, Range="bytes=4-7")

    assert (whole.status, whole.headers["content-type"]) == (200, "video/mp4")
    assert (part.status, part.body) == (206, b"ftyp") == (206, whole.body[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.body)}"
    beyond = await segment(app, STUDIO.name, file, Range=f"bytes={len(whole.body)}-")
    assert beyond.status == 416
    assert (await segment(app, DEMO.name, file)).status == 404
    detail = (await call(app, "GET", f"/api/v1/live/{STUDIO.name}")).json()
    assert (detail["mode"], detail["state"]) == ("vod", "offline")
    assert detail["recording_id"] == str(STUDIO.recording_id)
    assert detail["recording_url"].endswith(file)


async def _video_of(system: System, name: str) -> UUID | None:
    statement = "SELECT last_recording_id FROM channels WHERE name = $1"
    found: UUID | None = await query(system, statement, name)
    return found


async def _stopped(owner: Person, name: str) -> dict[str, Any]:
    answer = await owner.send("DELETE", f"/live/channels/{name}")
    assert answer.status == 202, answer.body
    body: dict[str, Any] = answer.json()
    return body


async def test_a_stop_makes_a_video_of_the_recording(app: FastAPI, system: System) -> None:
    """The recording becomes its owner's video once, to be processed, and is what the channel shows from then on."""
    owner = await creator(app, 0)
    started = await owner.send("PUT", "/live/channels/one")
    assert (started.status, started.json()["state"]) == (200, "live")
    assert await is_live(app, "one")
    await asyncio.sleep(1.5)  # something to record
    stopped = await _stopped(owner, "one")
    assert stopped["recording_id"] is not None

    async def kept() -> bool:
        return bool(str(await _video_of(system, "one")) == stopped["recording_id"])

    await until(kept)
    assert (await _stopped(owner, "one"))["recording_id"] == stopped["recording_id"]
    video = "SELECT count(*) FROM videos JOIN users ON users.id = owner_id WHERE videos.id = $1 AND username = $2"
    assert await query(system, video, stopped["recording_id"], owner.username) == 1
    tasks = "SELECT count(*) FROM outbox WHERE subject = $1"
    assert await query(system, tasks, stopped["recording_id"]) == 1
    live: LiveService = app.state.services.live
    assert await live._recorder.settle_once() == 0
    answer = await playlist(app, "one")
    assert (shows(answer), named(answer)) == ("vod", [f"{stopped['recording_id']}.mp4"])
    media = await segment(app, "one", named(answer)[0])
    assert (media.status, media.body[4:8]) == (200, b"ftyp")


async def test_a_stop_that_the_origin_did_not_hear_is_made_up_for(
    app: FastAPI, system: System
) -> None:
    """With the origin away a stop is accepted and kept; once it is back the channel goes and its recording comes."""
    owner = await creator(app, 1)
    assert (await owner.send("PUT", "/live/channels/two")).status == 200
    await asyncio.sleep(1.2)  # something to record
    system.live_origin.stop()
    try:
        answer = await owner.send("DELETE", "/live/channels/two")
        assert (answer.status, answer.json()["recording_id"]) == (202, None)
        assert answer.headers["x-degraded"] == "live"
    finally:
        system.live_origin.resume()
    recorder = app.state.services.live._recorder

    async def kept() -> bool:
        recorder.wake()
        return await _video_of(system, "two") is not None

    await until(kept)
    assert shows(await playlist(app, "two")) == "vod"


async def test_a_recording_comes_while_the_store_is_away(app: FastAPI, system: System) -> None:
    """A channel that is stopped while the store is dead has its recording kept here, and shows it."""
    owner = await creator(app, 9)
    assert (await owner.send("PUT", "/live/channels/four")).status == 200
    await asyncio.sleep(1.2)  # something to record
    system.object_store.kill()
    try:
        recording_id = (await _stopped(owner, "four"))["recording_id"]

        async def kept() -> bool:
            return await _video_of(system, "four") is not None

        await until(kept)
        answer = await playlist(app, "four")
        assert (shows(answer), named(answer)) == ("vod", [f"{recording_id}.mp4"])
        media = await segment(app, "four", named(answer)[0])
        assert (media.status, media.body[4:8]) == (200, b"ftyp")
        assert media.headers["x-degraded"] == "storage"
    finally:
        system.object_store.start()


async def test_a_recording_that_was_deleted_does_not_come_back(
    app: FastAPI, system: System
) -> None:
    """Who deletes a recording's video is rid of it, although the origin still has it: the channel shows nothing."""
    owner = await creator(app, 2)
    assert (await owner.send("PUT", "/live/channels/three")).status == 200
    await asyncio.sleep(1.2)  # something to record
    recording_id = (await _stopped(owner, "three"))["recording_id"]

    async def kept() -> bool:
        return await _video_of(system, "three") is not None

    await until(kept)
    assert (await owner.send("DELETE", f"/videos/{recording_id}")).status == 204
    assert await app.state.services.live._recorder.settle_once() == 0
    await asyncio.sleep(1.1)  # a look at a channel is shared for a second

    assert shows(await playlist(app, "three")) == "404"
    assert (await segment(app, "three", f"{recording_id}.mp4")).status == 404
    detail = (await call(app, "GET", "/api/v1/live/three")).json()
    assert (detail["mode"], detail["playlist_url"]) == ("offline", None)


@pytest.mark.parametrize("trouble", ["killed", "paused"])
async def test_without_the_origin_the_recording_plays(
    app: FastAPI, system: System, trouble: str
) -> None:
    """Viewers get the last recording within the limit, marked, never a 5xx; soon at once; and live again afterwards."""
    await until(lambda: is_live(app, DEMO.name))
    last_segment = named(await playlist(app, DEMO.name))[-1]
    server = system.live_origin
    (server.kill if trouble == "killed" else server.stop)()
    try:
        await asyncio.sleep(0.6)  # the shared playlist has grown old
        took_s = []
        for _ in range(8):
            begun = time.perf_counter()
            answer = await playlist(app, DEMO.name)
            took_s.append(time.perf_counter() - begun)
            assert shows(answer) == "vod*"
            assert named(answer) == [f"{DEMO.recording_id}.mp4"]
        assert max(took_s) < CALL_TIMEOUT_S + LATE_S
        assert sample(app, "app_breaker_state", name="live-origin", state="closed") == 0
        assert min(took_s[-3:]) < 0.1
        media = await segment(app, DEMO.name, f"{DEMO.recording_id}.mp4")
        assert (media.status, media.body[4:8]) == (200, b"ftyp")
        gone = await segment(app, DEMO.name, str(int(last_segment[:-3]) + 900) + ".ts")
        assert (gone.status, gone.headers["x-degraded"]) == (404, "live")
        detail = await call(app, "GET", f"/api/v1/live/{DEMO.name}")
        assert (detail.json()["mode"], detail.headers["x-degraded"]) == ("vod", "live")
    finally:
        (server.start if trouble == "killed" else server.resume)()

    await until(lambda: is_live(app, DEMO.name))


async def test_a_refused_origin(system: System) -> None:
    """Nothing listens: the recording at once; a channel without one is 503 and says when to ask again; no start."""
    address = f"http://127.0.0.1:{free_port()}"
    async with serving(system.settings(live_origin_url=address)) as app:
        assert shows(await playlist(app, DEMO.name)) == "vod*"
        owner = await creator(app, 3)
        answer = await owner.send("PUT", "/live/channels/empty")
        assert (answer.status, int(answer.headers["retry-after"]) >= 1) == (503, True)
        empty = await playlist(app, "empty")
        assert (empty.status, int(empty.headers["retry-after"]) >= 1) == (503, True)
        detail = (await call(app, "GET", "/api/v1/live/empty")).json()
        assert (detail["mode"], detail["state"]) == ("offline", "offline")
        assert (await playlist(app, "unknown")).status == 404


async def test_switched_off(system: System) -> None:
    """With the flag off there are recordings alone, marked, and the origin is never asked."""
    async with serving(system.settings(feature_live_enabled=False)) as app:
        asked: list[object] = []
        app.state.services.live._origin._session._request = asked.append
        assert shows(await playlist(app, DEMO.name)) == "vod*"
        assert (await segment(app, DEMO.name, "1.ts")).status == 404
        assert (await segment(app, DEMO.name, f"{DEMO.recording_id}.mp4")).status == 200
        owner = await creator(app, 4)
        answer = await owner.send("PUT", "/live/channels/never")
        assert (answer.status, int(answer.headers["retry-after"])) == (503, 60)
        assert (await playlist(app, "never")).status == 404
        assert (await owner.send("DELETE", "/live/channels/never")).status == 404
        assert asked == []
