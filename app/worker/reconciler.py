"""Brings back what was lost on the way, and clears away what belongs to nobody.

Whatever failed, and whoever was killed, each pass moves the system towards the same end: every accepted video is worked
on, every object belongs to a row, and nothing waits in a place that is only for bad times. A pass may end anywhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text

from app.core.errors import UnavailableError
from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.task_queue import task_id
from app.services.media import source_key
from app.worker.workspace import sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database
    from app.infrastructure.task_queue import TaskQueue
    from app.services.storage import StorageService
    from app.worker.deletion import Deletion
    from app.worker.outbox import Outbox

BATCH = 50
MAX_SEEN_WAITING = 2000
"""Beyond so many waiting tasks the queue is not searched: whoever is lost waits until it is shorter."""

FORGET_AFTER_S = 3600.0
SETTLE_WITHIN_S = 10.0

log = structlog.get_logger(component="worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How old something is before it counts as left behind, in seconds."""

    lost_s: float = 5.0
    abandoned_s: float = 20.0


class Reconciler:
    """One pass at a time."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        queue: TaskQueue | None,
        storage: StorageService,
        deletion: Deletion,
        *,
        folder: Path,
        ages: Ages | None = None,
    ) -> None:
        """Without a `queue` (switched off) the application itself does the work. `folder` is that of the work."""
        self._database = database
        self._outbox = outbox
        self._queue = queue
        self._storage = storage
        self._deletion = deletion
        self._folder = folder
        self._ages = ages or Ages()

    async def run_once(self) -> None:
        """Do one pass; what cannot be done now is left to a later one."""
        steps: tuple[Callable[[], Awaitable[object]], ...] = (
            self.ask_again,
            self.settle_uploads,
            self.copy_back,
            self.clear_deleted,
            self.tidy,
        )
        for step in steps:
            try:
                await step()
            except (UnavailableError, OSError, TimeoutError) as error:
                log.debug(
                    "reconcile_step_failed", step=step.__name__, error_type=type(error).__name__
                )

    async def ask_again(self) -> int:
        """Ask again for work that the broker has lost; return for how much.

        Work that still waits in the queue is not lost, however long it has waited. While the broker cannot be asked, it
        counts as lost: the application may then do it, and the outbox, not the queue, is what a recovery starts from.
        """
        unsettled = await self._outbox.unsettled(self._ages.lost_s, BATCH)
        if not unsettled:
            return 0
        if self._queue is not None:
            try:
                waiting = await self._queue.waiting(MAX_SEEN_WAITING)
            except DependencyUnavailableError:
                pass
            else:
                if not waiting.complete:
                    return 0
                unsettled = [
                    each
                    for each in unsettled
                    if task_id(each.task, each.subject) not in waiting.ids
                ]
        if unsettled:
            await self._outbox.ask_again(each.id for each in unsettled)
            log.warning("work_asked_for_again", tasks=len(unsettled))
        return len(unsettled)

    async def settle_uploads(self) -> int:
        """Remove what uploads have left that never were acknowledged; return how many there were."""
        settled = 0
        while settled < BATCH and await self._settle_upload():
            settled += 1
        return settled

    async def copy_back(self) -> None:
        """Bring what was kept locally to the store."""
        await self._storage.reconcile_once(BATCH)

    async def clear_deleted(self) -> int:
        """Clear away deleted videos whose own task did not; return how many."""
        cleared = 0
        for video_id in await self._deleted():
            cleared += await self._deletion.clear(video_id)
        return cleared

    async def tidy(self) -> None:
        """Remove folders of work that was killed, and rows that nobody needs any more."""
        await asyncio.to_thread(sweep, self._folder)
        await self._outbox.forget_settled(FORGET_AFTER_S, 10 * BATCH)

    async def _settle_upload(self) -> bool:
        """Settle one. Its row stays locked from before the object goes until the row does: no upload ends in between.

        So this is one transaction with a call of the store inside, outside the database's guard, which would take the
        store's slowness for the database's.
        """
        async with asyncio.timeout(SETTLE_WITHIN_S), self._database.session() as session:
            values = {"age_s": self._ages.abandoned_s}
            row = (await session.execute(_ABANDONED, values)).one_or_none()
            if row is None:
                return False
            if not row.has_video:
                await self._storage.delete(source_key(row.video_id))
            await session.execute(_FORGET_UPLOAD, {"video_id": row.video_id})
            await session.commit()
        log.info("upload_abandoned", video_id=str(row.video_id))
        return True

    async def _deleted(self) -> list[UUID]:
        async def work(session: AsyncSession) -> list[UUID]:
            values = {"age_s": self._ages.lost_s, "count": BATCH}
            return list((await session.execute(_DELETED, values)).scalars())

        return await self._database.run(work, operation="select", table="videos")


_ABANDONED = text("""
    SELECT video_id, EXISTS (SELECT FROM videos WHERE id = video_id) AS has_video
    FROM uploads
    WHERE state = 'receiving' AND touched_at < now() - CAST(:age_s AS float) * interval '1 second'
    ORDER BY touched_at LIMIT 1
    FOR UPDATE OF uploads SKIP LOCKED
""")

_FORGET_UPLOAD = text("DELETE FROM uploads WHERE video_id = :video_id AND state = 'receiving'")

_DELETED = text("""
    SELECT v.id FROM videos AS v LEFT JOIN processings AS p ON p.video_id = v.id
    WHERE v.deleted_at < now() - CAST(:age_s AS float) * interval '1 second'
      AND (p.lease_owner IS NULL OR p.lease_until < now())
    ORDER BY v.deleted_at LIMIT :count
""")
