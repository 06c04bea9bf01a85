"""Load shedding: refuse early what would only wait.

A queue that empties now and then absorbs a burst and does no harm; one that never empties only makes everybody late.
CoDel (RFC 8289) tells them apart by the *shortest* wait of an interval, and so does this: work of an asyncio process
queues in its event loop, so the wait is measured there.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from app.core.metrics import Metrics

INTERVAL_S = 0.5
TICK_S = 0.02
QUEUEING, IN_FLIGHT = "queueing", "in_flight"

log = structlog.get_logger(component="resilience")


class Shedder:
    """Decides whether a request may begin. Each `admit` that let one in is followed by one `release`."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        max_in_flight: int,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shed beyond `max_in_flight` requests, and while no wait of an interval was below `wait_s`."""
        self.in_flight = 0
        self.overloaded = False
        self._max_in_flight = max_in_flight
        self._wait_s = wait_s
        self._clock = clock
        self._above_since: float | None = None
        self._shed = {
            reason: metrics.http_requests_shed_total.labels(reason)
            for reason in (QUEUEING, IN_FLIGHT)
        }
        metrics.http_requests_in_flight.set_function(lambda: self.in_flight)

    def admit(self) -> str | None:
        """Let a request in, or return why it is shed."""
        if self.overloaded:
            reason = QUEUEING
        elif self.in_flight >= self._max_in_flight:
            reason = IN_FLIGHT
        else:
            self.in_flight += 1
            return None
        self._shed[reason].inc()
        return reason

    def release(self) -> None:
        """Say that a request which was let in has ended."""
        self.in_flight -= 1

    def observe(self, wait_s: float) -> None:
        """Take note of a measured wait. One short wait proves that the queue was empty, and ends the shedding."""
        if wait_s <= self._wait_s:
            self._above_since = None
            self._set_overloaded(overloaded=False, wait_s=wait_s)
            return
        now = self._clock()
        if self._above_since is None:
            self._above_since = now
        if now - self._above_since >= INTERVAL_S:
            self._set_overloaded(overloaded=True, wait_s=wait_s)

    def _set_overloaded(self, *, overloaded: bool, wait_s: float) -> None:
        if overloaded == self.overloaded:
            return
        self.overloaded = overloaded
        fields = {"wait_ms": round(wait_s * 1000, 1), "in_flight": self.in_flight}
        if overloaded:
            log.warning("shedding_began", **fields)
        else:
            log.info("shedding_ended", **fields)


class LoopLagMonitor:
    """Async context manager: a task that measures how late the event loop takes its turns."""

    def __init__(self, shedder: Shedder, metrics: Metrics) -> None:
        self._shedder = shedder
        self._lag = metrics.event_loop_lag_seconds

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="watch the event loop")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            # Not the loop's own clock: uvloop's stands still while the loop is blocked.
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            lag_s = max(0.0, time.monotonic() - due)
            self._lag.observe(lag_s)
            self._shedder.observe(lag_s)
