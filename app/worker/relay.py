"""Gives the outbox to the queue, and reconciles: `python -m app.worker.relay`.

Two loops that share nothing but the database, so that a slow store never holds tasks up.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.broker import broker_guard
from app.infrastructure.task_queue import PUBLISH_TIMEOUT_S, TaskQueue, classify_publish
from app.worker.__main__ import start
from app.worker.deletion import Deletion
from app.worker.parts import Parts, open_parts, work_folder
from app.worker.reconciler import Ages, Reconciler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.worker.outbox import Outbox

RELAY_EVERY_S = 0.2
RECONCILE_EVERY_S = 1.0
BATCH = 20

log = structlog.get_logger(component="worker")


class Relay:
    """Publishes what the outbox asks for, oldest first; what a publish does not confirm is published again."""

    def __init__(self, outbox: Outbox, queue: TaskQueue | None, metrics: Metrics) -> None:
        """Without a `queue` (switched off) it only counts."""
        self._outbox = outbox
        self._queue = queue
        self._pending = metrics.outbox_pending

    async def run_once(self) -> None:
        """Publish until nothing is left, or the broker does not take it."""
        with suppress(DependencyUnavailableError):
            while await self._publish_some():
                pass

    async def _publish_some(self) -> bool:
        pending = await self._outbox.pending()
        self._pending.set(pending)
        if not pending or self._queue is None or self._queue.refusing:
            return False
        done: list[int] = []
        entries = await self._outbox.claim(BATCH)
        try:
            for entry in entries:
                if entry.needed:
                    await self._queue.publish(entry.task, entry.subject, entry.correlation_id)
                done.append(entry.id)
        finally:
            if done:
                await self._outbox.mark_published(done)
        return bool(entries)


async def run(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Run both loops until `stop` is set."""
    async with open_parts(settings, metrics) as parts:
        queue = _queue(settings, metrics) if settings.feature_celery_enabled else None
        try:
            relay = Relay(parts.outbox, queue, metrics)
            reconciler = _reconciler(settings, parts, queue)
            async with asyncio.TaskGroup() as loops:
                loops.create_task(_every(RELAY_EVERY_S, relay.run_once, stop))
                loops.create_task(_every(RECONCILE_EVERY_S, reconciler.run_once, stop))
        finally:
            if queue is not None:
                await queue.close()


def _queue(settings: Settings, metrics: Metrics) -> TaskQueue:
    guard = broker_guard(metrics, timeout_s=PUBLISH_TIMEOUT_S, classify=classify_publish)
    return TaskQueue(settings.broker_url.get_secret_value(), guard, metrics)


def _reconciler(settings: Settings, parts: Parts, queue: TaskQueue | None) -> Reconciler:
    return Reconciler(
        parts.database,
        parts.outbox,
        queue,
        parts.storage,
        Deletion(parts.database, parts.storage),
        folder=work_folder(settings),
        ages=Ages(lost_s=settings.reconcile_after_s),
    )


async def _every(period_s: float, once: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Do it for ever; an error that nobody expected is one line, and the next turn comes."""
    while not stop.is_set():
        try:
            await once()
        except Exception:
            log.exception("relay_turn_broke")
        with suppress(TimeoutError):
            async with asyncio.timeout(period_s):
                await stop.wait()


async def _main(settings: Settings, metrics: Metrics) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("relay_started", queue=settings.feature_celery_enabled)
    await run(settings, metrics, stop)
    log.info("relay_stopped")


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    started = start()
    if isinstance(started, int):
        return started
    asyncio.run(_main(*started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
