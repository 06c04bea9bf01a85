"""What makes an end happen once: each guard, and what happens without it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import TextClause, text

from app.core.metrics import Metrics
from app.services.media import source_key
from app.worker.deletion import Deletion
from app.worker.ledger import Ledger
from app.worker.parts import open_parts, work_folder
from app.worker.pipeline import Outcome, Patience, Pipeline
from app.worker.reconciler import Ages, Reconciler
from app.worker.relay import Relay
from tests.app.worker.media import LIMITS, read
from tests.app.worker.world import complete, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from uuid import UUID

    from app.worker.outbox import Outbox
    from app.worker.parts import Parts
    from tests.app.worker.world import Place


class _WithoutLease(Ledger):
    """Gives the lease to everybody."""

    TAKE: ClassVar[TextClause] = text(Ledger.TAKE.text.replace("p.lease_until < now()", "true"))

    async def renew(self, *_: object) -> bool:
        """Say that it is still held, whoever asks."""
        return True


class _WithoutGuard(_WithoutLease):
    """And lets everybody end the work, in whatever state the video is."""

    END: ClassVar[TextClause] = text(Ledger.END.text.replace("status = 'processing' AND", ""))


@asynccontextmanager
async def parts_of(place: Place) -> AsyncIterator[tuple[Parts, Metrics]]:
    """Give what a process beside the application is built from."""
    metrics = Metrics(CollectorRegistry())
    async with open_parts(place.system.settings(), metrics) as parts:
        yield parts, metrics


def pipeline_of(
    place: Place, parts: Parts, metrics: Metrics, ledger: Ledger | None = None, **patience: float
) -> Pipeline:
    """Build a pipeline of the test's own."""
    return Pipeline(
        ledger or Ledger(parts.database),
        parts.storage,
        metrics,
        folder=work_folder(place.system.settings()),
        patience=Patience(**patience),  # type: ignore[arg-type] # floats alone are given
        limits=LIMITS,
    )


async def _two_at_once(place: Place, clip: Path, ledger: type[Ledger]) -> list[str]:
    """Have two pipelines do the same video at the same time; return the effects."""
    video_id = await place.upload(read(clip))
    async with parts_of(place) as (parts, metrics):
        both = [
            pipeline_of(place, parts, metrics, ledger(parts.database)).process(video_id)
            for _ in range(2)
        ]
        await asyncio.gather(*both)
    return await place.effects(video_id)


async def test_two_at_once(place: Place, clip: Path) -> None:
    """Two that begin the same video at the same moment have one effect between them."""
    assert await _two_at_once(place, clip, Ledger) == ["published"]


async def test_two_at_once_without_lease(place: Place, clip: Path) -> None:
    """Without the lease both do the work, and still only one of them ends it."""
    assert await _two_at_once(place, clip, _WithoutLease) == ["published"]


async def test_two_at_once_without_guard(place: Place, clip: Path) -> None:
    """Without the end's own condition there are two effects: it is what makes the end happen once."""
    assert await _two_at_once(place, clip, _WithoutGuard) == ["published", "published"]


async def test_lease_of_the_dead(place: Place, clip: Path) -> None:
    """A lease that ran out is anybody's; until then the video is left alone, and its holder's end changes nothing."""
    video_id = await place.upload(read(clip))
    async with parts_of(place) as (parts, metrics):
        ledger = Ledger(parts.database)
        assert await ledger.take(video_id, "the dead", 0.6) is not None
        pipeline = pipeline_of(place, parts, metrics)
        assert await pipeline.process(video_id) is Outcome.NOTHING_TO_DO
        await asyncio.sleep(0.7)
        assert await pipeline.process(video_id) is Outcome.PUBLISHED
        assert not await ledger.renew(video_id, "the dead", 1.0, "upload")
        assert not await ledger.fail(video_id, "late")

    assert await place.effects(video_id) == ["published"]


async def test_source_that_is_nowhere(place: Place, clip: Path) -> None:
    """An object that the store does not have is tried a few times, then the video fails with its reason."""
    video_id = uuid4()
    await place.add_row(video_id, read(clip))
    async with parts_of(place) as (parts, metrics):
        pipeline = pipeline_of(place, parts, metrics, max_attempts=3, first_pause_s=0.01)
        outcomes: list[Outcome] = []
        while not outcomes or outcomes[-1] is not Outcome.FAILED:
            outcome = await pipeline.process(video_id)
            if outcome is not Outcome.NOTHING_TO_DO:  # it rests
                outcomes.append(outcome)

    assert outcomes == [Outcome.LATER, Outcome.LATER, Outcome.FAILED]
    assert await place.effects(video_id) == ["failed"]
    told = metrics.registry.get_sample_value
    name = "video_processing_errors_total"
    assert told(name, {"error_type": "source_missing"}) == 3


class _NeverMarks:
    """The outbox as a relay leaves it that is killed after the publish."""

    def __init__(self, outbox: Outbox) -> None:
        self.pending = outbox.pending
        self.claim = outbox.claim

    async def mark_published(self, _ids: Iterable[int]) -> None:
        """Be killed."""
        raise asyncio.CancelledError


async def test_relay_killed_between_publish_and_mark(place: Place, clip: Path) -> None:
    """What a relay had published before it died is published again by the next: two messages, one effect."""
    video_id = await place.upload(read(clip))
    async with parts_of(place) as (parts, metrics), place.queue() as queue:
        killed = Relay(_NeverMarks(parts.outbox), queue, metrics)  # type: ignore[arg-type] # the part that it uses
        with suppress(asyncio.CancelledError):
            await killed.run_once()
        await Relay(parts.outbox, queue, metrics).run_once()
        assert metrics.registry.get_sample_value("outbox_pending") == 0
    with place.worker() as worker:
        assert await place.ended(video_id, worker) == "published"
        wait_until(lambda: len(worker.events("task_done")) == 2, worker)

    assert await place.effects(video_id) == ["published"]


def reconciler_of(place: Place, parts: Parts, **ages: float) -> Reconciler:
    """Build a reconciler without a queue."""
    return Reconciler(
        parts.database,
        parts.outbox,
        None,
        parts.storage,
        Deletion(parts.database, parts.storage),
        folder=work_folder(place.system.settings()),
        ages=Ages(**ages),
    )


async def _intent(place: Place, video_id: UUID) -> None:
    await place.database.execute(
        "INSERT INTO uploads (owner_id, idempotency_key, video_id, fingerprint)"
        " SELECT id, $1, $2, 'none' FROM users LIMIT 1",
        *(str(video_id), video_id),
    )


async def test_abandoned_upload(place: Place, clip: Path) -> None:
    """An upload that nobody acknowledged, and nobody goes on with: its object and its intent go; a young one stays."""
    abandoned = await place.upload(read(clip))
    await place.database.execute("DELETE FROM outbox")
    await place.database.execute("DELETE FROM videos WHERE id = $1", abandoned)
    await _intent(place, abandoned)
    async with parts_of(place) as (parts, _):
        assert await reconciler_of(place, parts, abandoned_s=60).settle_uploads() == 0
        assert place.objects_of(abandoned) == {source_key(abandoned)}
        assert await reconciler_of(place, parts, abandoned_s=0).settle_uploads() == 1

    assert place.objects_of(abandoned) == set()
    assert await place.database.fetchval("SELECT count(*) FROM uploads") == 0


async def test_deleted_while_it_is_worked_on(place: Place, wide_clip: Path) -> None:
    """A video deleted mid-work leaves no object and no row, whichever of work and clearing is quicker."""
    video_id = await place.upload(read(wide_clip))
    async with parts_of(place) as (parts, metrics):
        working = asyncio.create_task(
            pipeline_of(place, parts, metrics, lease_s=1.0).process(video_id)
        )
        while not await place.database.fetchval("SELECT count(*) FROM processings"):  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.02)
        await place.database.execute("UPDATE videos SET deleted_at = now() WHERE id = $1", video_id)
        reconciler = reconciler_of(place, parts, lost_s=0)
        while await place.database.fetchval("SELECT count(*) FROM videos WHERE id = $1", video_id):
            await reconciler.clear_deleted()
            await asyncio.sleep(0.05)
        assert await working is Outcome.NOTHING_TO_DO

    assert place.objects_of(video_id) == set()
    assert await place.effects(video_id) == []


async def test_deleted_after_it_was_published(place: Place, clip: Path) -> None:
    """Clearing a public video removes source, renditions, thumbnail and rows; the proof of its effect stays."""
    video_id = await place.upload(read(clip))
    async with parts_of(place) as (parts, metrics):
        assert await pipeline_of(place, parts, metrics).process(video_id) is Outcome.PUBLISHED
        assert place.objects_of(video_id) == complete(video_id)
        deletion = Deletion(parts.database, parts.storage)
        assert not await deletion.clear(video_id)  # not deleted
        await place.database.execute("UPDATE videos SET deleted_at = now() WHERE id = $1", video_id)
        assert await deletion.clear(video_id)
        assert not await deletion.clear(video_id)

    assert place.objects_of(video_id) == set()
    left = "SELECT count(*) FROM renditions WHERE video_id = $1"
    assert await place.database.fetchval(left, video_id) == 0
    assert await place.effects(video_id) == ["published"]
