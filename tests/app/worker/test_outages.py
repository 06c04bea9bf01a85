"""Work while a dependency is away: it waits, or goes another way, and happens once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import uvloop

from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.task_queue import PUBLISH_TIMEOUT_S
from app.worker.ffmpeg import Reason, transcode
from app.worker.local import SMALL_BYTES
from tests.app.conftest import until
from tests.app.people import Person
from tests.app.servers import free_port
from tests.app.system import serving
from tests.app.worker.media import LIMITS, read, refused, running
from tests.app.worker.world import complete, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from tests.app.worker.world import Place


async def test_store_away_during_the_work(place: Place, wide_clip: Path) -> None:
    """S3 goes before the work begins: the video rests, is tried again, and is done when S3 is back. Nothing counts."""
    video_id = await place.upload(read(wide_clip))
    place.system.object_store.kill()
    try:
        with place.worker() as worker, place.relay() as relay:
            wait_until(lambda: len(worker.events("video_processing_postponed")) >= 2, worker, relay)
            for line in worker.events("video_processing_postponed"):
                assert (line["reason"], line["stage"]) == ("unavailable", "download")
            place.system.object_store.start()
            assert await place.ended(video_id, worker, relay) == "published"
            wait_until(lambda: bool(worker.events("video_processing_completed")), worker)
            [done] = worker.events("video_processing_completed")
            assert done["attempt"] == 1
    finally:
        place.system.object_store.kill()
        place.system.object_store.start()

    assert await place.effects(video_id) == ["published"]
    assert place.objects_of(video_id) == complete(video_id)


async def test_store_lost_while_it_is_worked_on(place: Place, wide_clip: Path) -> None:
    """S3 goes while ffmpeg works: the results are kept locally, and S3 gets them when it is back."""
    video_id = await place.upload(read(wide_clip))
    with place.worker() as worker, place.relay() as relay:
        wait_until(lambda: bool(worker.events("video_transcode_started")), worker, relay)
        place.system.object_store.kill()
        try:
            assert await place.ended(video_id, worker, relay) == "published"
        finally:
            place.system.object_store.start()
        wait_until(lambda: place.objects_of(video_id) == complete(video_id), relay)

    assert await place.effects(video_id) == ["published"]


async def test_broker_killed(place: Place, clip: Path) -> None:
    """The broker is killed, with all that it knew, and comes back: worker and relay go on by themselves."""
    with place.worker() as worker, place.relay() as relay:
        first = await place.upload(read(clip))
        assert await place.ended(first, worker, relay) == "published"
        place.system.valkey.kill()
        try:
            second = await place.upload(read(clip))
            wait_until(lambda: bool(relay.events("breaker_opened")), relay)
            assert "outbox_pending 1.0" in relay.metrics()
        finally:
            place.system.valkey.start()
        assert await place.ended(second, worker, relay) == "published"
        assert len(worker.events("broker_lost")) == 1

    assert await place.effects(second) == ["published"]


async def test_broker_lost_in_the_middle_of_a_task(
    place: Place, wide_clip: Path, clip: Path
) -> None:
    """The broker is gone when a task is acknowledged, and its room for one message is taken: the next task comes in."""
    first = await place.upload(read(wide_clip))
    second = await place.upload(read(clip))
    with place.worker() as worker:
        async with place.queue() as queue:
            await queue.publish("process_video", first, None)
            wait_until(lambda: bool(worker.events("video_transcode_started")), worker)
            place.system.valkey.kill()
            try:
                wait_until(lambda: bool(worker.events("task_done")), worker)
                # What is said of a lost acknowledgement, by us or by Celery, comes when no more tries will be made.
                said = ("broker_lost", "Couldn't ack")
                wait_until(lambda: any(each in worker.text() for each in said), worker)
            finally:
                place.system.valkey.start()
        async with place.queue() as queue:
            await queue.publish("process_video", second, None)
        assert await place.ended(second, worker) == "published"
        assert len(worker.events("broker_connected")) == 2

    for video_id in (first, second):
        assert await place.effects(video_id) == ["published"]


async def test_broker_hangs(place: Place, clip: Path) -> None:
    """The broker hangs for longer than a worker is patient: both go on after it, and nothing has two effects."""
    with place.worker() as worker, place.relay() as relay:
        place.system.valkey.stop()
        try:
            video_id = await place.upload(read(clip))
            wait_until(lambda: bool(relay.events("breaker_opened")), relay)
        finally:
            place.system.valkey.resume()
        assert await place.ended(video_id, worker, relay) == "published"

    assert await place.effects(video_id) == ["published"]


async def test_publish_into_a_hang(place: Place, clip: Path) -> None:
    """A publish into a hanging broker ends within its limit, and the next ones are refused at once."""
    video_id = await place.upload(read(clip))
    async with place.queue() as queue:
        place.system.valkey.stop()
        try:
            took_s = []
            for _ in range(6):
                began = time.perf_counter()
                with pytest.raises(DependencyUnavailableError):
                    await queue.publish("process_video", video_id, None)
                took_s.append(time.perf_counter() - began)
            assert queue.refusing
        finally:
            place.system.valkey.resume()

    assert max(took_s) < PUBLISH_TIMEOUT_S + 0.5
    assert min(took_s) < 0.05


async def test_database_away(place: Place, clip: Path) -> None:
    """PostgreSQL hangs while a task comes: the task goes back to the queue, without a storm, and is done later."""
    video_id = await place.upload(read(clip))
    with place.worker() as worker:
        async with place.queue() as queue:
            place.system.postgres.stop()
            try:
                await queue.publish("process_video", video_id, None)
                wait_until(lambda: len(worker.events("task_given_back")) >= 2, worker)
            finally:
                place.system.postgres.resume()
        assert await place.ended(video_id, worker) == "published"

    assert await place.effects(video_id) == ["published"]


async def _own(app: FastAPI, place: Place, video_id: object) -> tuple[str, str]:
    """Ask for a video as its owner; return its status and what the answer says is degraded."""
    person = Person(app, "")
    name = await place.database.fetchval(
        "SELECT username FROM users JOIN videos ON owner_id = users.id WHERE videos.id = $1",
        video_id,
    )
    person.username = str(name)
    await person.arrive()
    answer = await person.send("GET", f"/videos/{video_id}")
    return answer.json()["status"], answer.headers.get("x-degraded", "")


async def test_switched_off(place: Place, clip: Path) -> None:
    """With the flag off the application itself does the work, and its answers say so; the broker is not asked."""
    settings = place.system.settings(
        feature_celery_enabled=False, broker_url=f"redis://127.0.0.1:{free_port()}/1"
    )
    async with serving(settings) as app:
        large = await place.upload(read(clip) + bytes(SMALL_BYTES))
        video_id = await place.upload(read(clip))
        _, degraded = await _own(app, place, large)
        assert degraded == "tasks"
        for each in (large, video_id):
            assert await place.ended_aside(each) == "published"
            assert await place.effects(each) == ["published"]
            assert place.objects_of(each) == complete(each)


async def test_broker_refuses(place: Place, clip: Path) -> None:
    """The broker cannot be reached: small work is done here, large work waits for it, and answers say so."""
    settings = place.system.settings(broker_url=f"redis://127.0.0.1:{free_port()}/1")
    async with serving(settings) as app:
        large = await place.upload(read(clip) + bytes(SMALL_BYTES))
        video_id = await place.upload(read(clip))
        assert await place.ended_aside(video_id) == "published"
        assert await _own(app, place, large) == ("processing", "tasks")
        told = app.state.metrics.registry.get_sample_value
        labels = {"dependency": "redis-broker", "reason": "breaker_open"}
        assert told("app_fallback_total", labels) == 1
        await until(lambda: told("outbox_pending") == 1)

    assert await place.effects(video_id) == ["published"]


async def test_broker_answers(place: Place, clip: Path) -> None:
    """While the broker is there the application leaves all work to the queue."""
    async with serving(place.system.settings()) as app:
        video_id = await place.upload(read(clip))
        await asyncio.sleep(1.5)
        assert await _own(app, place, video_id) == ("processing", "")


async def test_encoder_on_the_loop_of_the_application(clip: Path, tmp_path: Path) -> None:
    """The application runs on uvloop, which starts processes in its own way: ffmpeg works there, and is ended there."""

    async def work() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        made = await transcode(clip, tmp_path, LIMITS)
        assert [each.name for each in made] == ["1080p", "720p", "480p"]
        hasty = replace(LIMITS, time_s=0.01)
        assert await refused(transcode(clip, tmp_path, hasty)) is Reason.TIMEOUT
        assert running() == []

    def on_uvloop() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())

    await asyncio.to_thread(on_uvloop)


async def test_app_stopped_while_it_works(place: Place, wide_clip: Path) -> None:
    """An application that ends gives the work back at once, and the next does it."""
    settings = place.system.settings(feature_celery_enabled=False, processing_lease_s=60)
    async with serving(settings):
        video_id = await place.upload(read(wide_clip))
        while not await place.database.fetchval("SELECT count(*) FROM processings"):  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.02)
    assert await place.status(video_id) == "processing"
    async with serving(settings):
        assert await place.ended_aside(video_id) == "published"

    assert await place.effects(video_id) == ["published"]
