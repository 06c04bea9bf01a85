"""Uploaded videos become public, once each, whatever is killed and lost on the way."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psutil
from redis.asyncio import Redis

from app.core.metrics import QUEUE
from app.worker.parts import work_folder
from tests.app.worker.media import names, read
from tests.app.worker.world import complete, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.worker.world import Place

EVENTS = (
    "video_processing_started",
    "video_download_started",
    "video_transcode_started",
    "thumbnail_generation_started",
    "video_upload_started",
    "video_processing_completed",
)


async def test_from_row_to_public(place: Place, clip: Path) -> None:
    """A row and its task become a public video: three renditions, a thumbnail, one effect, one id in all lines."""
    video_id = await place.upload(read(clip), correlation_id="the-request-that-asked")
    with place.worker() as worker, place.relay() as relay:
        assert await place.ended(video_id, worker, relay) == "published"
        wait_until(lambda: bool(worker.events("video_processing_completed")), worker)
        told, relayed = worker.metrics(), relay.metrics()
        assert (worker.terminate(), relay.terminate()) == (0, 0)

    assert await place.effects(video_id) == ["published"]
    assert place.objects_of(video_id) == complete(video_id)
    row = await place.database.fetchrow("SELECT * FROM videos WHERE id = $1", video_id)
    assert row is not None
    assert (row["duration_s"], row["failure_reason"]) == (3, None)
    for rendition in await place.database.fetch(
        "SELECT * FROM renditions WHERE video_id = $1", video_id
    ):
        stored = place.store.stat_object("media", rendition["key"])
        assert stored.size == rendition["size_bytes"]
    for event in EVENTS:
        [line] = worker.events(event)
        assert (line["correlation_id"], line["component"]) == ("the-request-that-asked", "video")
    for stage in ("download", "transcode", "thumbnail", "upload", "publish"):
        assert f'video_processing_duration_seconds_count{{stage="{stage}"}} 1.0' in told
    assert 'task_enqueue_total{queue="video_processing",result="ok"} 1.0' in relayed
    assert "outbox_pending 0.0" in relayed
    assert names(work_folder(place.system.settings())) == []


async def test_worker_killed_mid_transcode(place: Place, wide_clip: Path) -> None:
    """SIGKILL while ffmpeg runs: the next worker ends the work, once; no encoder and no folder stays behind."""
    video_id = await place.upload(read(wide_clip))
    with place.relay() as relay:
        with place.worker() as first:
            wait_until(lambda: bool(first.events("video_transcode_started")), first, relay)
            encoders = psutil.Process(first.process.pid).children(recursive=True)
            first.kill()
        assert encoders
        assert await place.status(video_id) == "processing"
        with place.worker() as second:
            assert await place.ended(video_id, second, relay) == "published"
        folder = work_folder(place.system.settings())
        wait_until(lambda: not any(folder.iterdir()), relay)

    _, alive = psutil.wait_procs(encoders, timeout=1)
    assert not alive
    assert await place.effects(video_id) == ["published"]
    assert place.objects_of(video_id) == complete(video_id)


async def test_delivered_twice_to_two_workers(place: Place, clip: Path) -> None:
    """Two workers get the same task: one does it, the other sees that there is nothing to do."""
    video_id = await place.upload(read(clip))
    async with place.queue() as queue:
        for _ in range(2):
            await queue.publish("process_video", video_id, None)
    with place.worker() as one, place.worker() as other:
        assert await place.ended(video_id, one, other) == "published"
        skipped = lambda: len(one.events("task_done")) + len(other.events("task_done")) == 2  # noqa: E731
        wait_until(skipped, one, other)

    ended = [*one.events("video_processing_completed"), *other.events("video_processing_completed")]
    assert len(ended) == 1
    assert await place.effects(video_id) == ["published"]


async def test_message_lost_by_the_broker(place: Place, clip: Path) -> None:
    """The broker forgets what it was given: the reconciler sees that nobody does it, and asks again."""
    video_id = await place.upload(read(clip))
    async with Redis.from_url(place.system.environment["BROKER_URL"]) as broker:
        with place.relay() as relay:
            while not await broker.delete(QUEUE):  # noqa: ASYNC110 - Redis sets no event
                await asyncio.sleep(0.02)
            with place.worker() as worker:
                assert await place.ended(video_id, worker, relay) == "published"
                assert relay.events("work_asked_for_again")

    assert await place.effects(video_id) == ["published"]


async def test_waiting_is_not_lost(place: Place, clip: Path) -> None:
    """Without a worker the task stays in the queue, once, however long: a backlog does not grow by asking again."""
    await place.upload(read(clip))
    async with Redis.from_url(place.system.environment["BROKER_URL"]) as broker:
        with place.relay(RECONCILE_AFTER_S="0.2") as relay:
            wait_until(lambda: "outbox_pending 0.0" in relay.metrics(), relay)
            await asyncio.sleep(3)
            assert await broker.llen(QUEUE) == 1
            assert not relay.events("work_asked_for_again")


async def test_poison(place: Place) -> None:
    """A file that only begins like a video: failed at once with its reason, by one effect, and tried no more."""
    source = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + os.urandom(20_000)
    video_id = await place.upload(source)
    with place.worker() as worker, place.relay() as relay:
        assert await place.ended(video_id, worker, relay) == "failed"
        await asyncio.sleep(2.5)  # longer than whoever would bring it back waits
        assert len(worker.events("video_processing_started")) == 1
        [line] = worker.events("video_processing_failed")
        told = worker.metrics()

    reason = await place.database.fetchval(
        "SELECT failure_reason FROM videos WHERE id = $1", video_id
    )
    assert reason == line["reason"] == "not_media"
    assert line["status"] == "failure"
    assert 'video_processing_errors_total{error_type="not_media"} 1.0' in told
    assert await place.effects(video_id) == ["failed"]


async def test_messages_of_strangers(place: Place, clip: Path) -> None:
    """What is no task of ours in the queue is dropped with a line; the worker goes on with the next one."""
    video_id = await place.upload(read(clip))
    with place.worker() as worker:
        async with place.queue() as queue:
            queue._celery.send_task("process_video", ("no id",))
            queue._celery.send_task("process_video", (7,))
            queue._celery.send_task("no_such_task", ())
            await queue._redis.lpush(QUEUE, b"no message at all")
            await queue.publish("process_video", video_id, None)
        assert await place.ended(video_id, worker) == "published"
        wait_until(lambda: len(worker.events("task_refused")) == 2, worker)


async def test_stopped_worker_finishes(place: Place, wide_clip: Path) -> None:
    """SIGTERM lets the task under way end, and the process ends well."""
    video_id = await place.upload(read(wide_clip))
    with place.relay(), place.worker() as worker:
        wait_until(lambda: bool(worker.events("video_transcode_started")), worker)
        assert worker.terminate() == 0

    assert await place.status(video_id) == "published"


async def test_stopped_worker_gives_back(place: Place, long_video: Path) -> None:
    """What takes longer than a stop may: lease and task are given back at once, and the attempt does not count."""
    video_id = await place.upload(read(long_video))
    with place.relay(RECONCILE_AFTER_S="60"), place.worker(PROCESSING_LEASE_S="60") as worker:
        wait_until(lambda: bool(worker.events("video_transcode_started")), worker)
        assert worker.terminate() == 0
        assert worker.events("video_processing_released")
        attempts = await place.database.fetchval(
            "SELECT attempts FROM processings WHERE video_id = $1 AND lease_until <= now()",
            video_id,
        )
        assert attempts == 0
        # Given back to the queue, so the next worker need not wait for the reconciler.
        with place.worker() as next_worker:
            wait_until(lambda: bool(next_worker.events("video_transcode_started")), next_worker)

    assert names(work_folder(place.system.settings())) != []  # of the one that was killed just now
