"""The application does tasks itself: all when the queue is switched off, small ones while the broker is away.

One at a time, nice, and with one thread, so that requests hardly notice. It takes from the outbox what the relay could
not give away; should both give it to somebody, the lease and the end of the work let it happen once.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from app.core.context import mark_degraded
from app.core.errors import UnavailableError
from app.core.resilience.breaker import BreakerState
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.infrastructure.broker import DEPENDENCY, Broker
from app.worker.outbox import Outbox
from app.worker.parts import Workshop, work_folder
from app.worker.pipeline import LIMITS, Outcome, Patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.core.resilience.guard import Guard
    from app.infrastructure.database import Database
    from app.services.storage import StorageService

FEATURE = "tasks"
SMALL_BYTES = 8 * 1024 * 1024
LOOK_EVERY_S = 0.5
END_WITHIN_S = 4.0

log = structlog.get_logger(component="worker")


class LocalWork:
    """Looks at broker and outbox, and does what is to be done here."""

    def __init__(
        self,
        outbox: Outbox,
        workshop: Workshop,
        broker: Broker,
        guard: Guard,
        metrics: Metrics,
        *,
        queue_enabled: bool,
    ) -> None:
        self._outbox = outbox
        self._workshop = workshop
        self._broker = broker
        self._guard = guard
        self._queue_enabled = queue_enabled
        self._pending = metrics.outbox_pending
        self._fallbacks = metrics.app_fallback_total

    @property
    def in_charge(self) -> bool:
        """Whether tasks are done here now, as far as they can be."""
        return not self._queue_enabled or self._guard.breaker.state is not BreakerState.CLOSED

    def mark(self) -> None:
        """Say in the answer that its task goes the other way."""
        if self.in_charge:
            mark_degraded(FEATURE)

    async def run(self) -> None:
        """Look and work until cancelled."""
        while True:
            try:
                await self.run_once()
            except UnavailableError as unavailable:
                log.debug("local_work_waits", dependency=unavailable.dependency)
            except Exception:
                log.exception("local_work_broke")
            await asyncio.sleep(LOOK_EVERY_S)

    async def run_once(self) -> None:
        """Do what is there to be done here. Raises UnavailableError when it cannot be known."""
        await self._look()
        self._pending.set(await self._outbox.pending())
        while self.in_charge and await self._do_next():
            await self._look()

    async def _do_next(self) -> bool:
        entry = await self._outbox.next_local(SMALL_BYTES if self._queue_enabled else None)
        if entry is None:
            return False
        if entry.needed:
            if self._queue_enabled:
                self._fallbacks.labels(DEPENDENCY, Reason.BREAKER_OPEN).inc()
            outcome = await self._workshop.do(entry.task, entry.subject, entry.correlation_id)
            if outcome is Outcome.LATER:
                # It rests for a while, and is then found again.
                return True
        await self._outbox.mark_published([entry.id])
        return True

    async def _look(self) -> None:
        if self._queue_enabled:
            with suppress(DependencyUnavailableError):
                await self._guard.call(self._broker.ping)


@asynccontextmanager
async def local_work(
    settings: Settings,
    database: Database,
    storage: StorageService,
    guard: Guard,
    metrics: Metrics,
) -> AsyncIterator[LocalWork]:
    """Let the application do tasks when it must; at the end what is under way is given back."""
    broker = Broker(settings.broker_url.get_secret_value())
    workshop = Workshop.of(
        database,
        storage,
        metrics,
        folder=work_folder(settings),
        patience=Patience(lease_s=settings.processing_lease_s),
        limits=replace(LIMITS, threads=1),
    )
    work = LocalWork(
        Outbox(database),
        workshop,
        broker,
        guard,
        metrics,
        queue_enabled=settings.feature_celery_enabled,
    )
    running = asyncio.create_task(work.run(), name="local work")
    try:
        yield work
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=END_WITHIN_S)
        await broker.close()
