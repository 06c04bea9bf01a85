"""The run's clock: seconds from an anchor on CLOCK_MONOTONIC, or virtual seconds in tests and rehearsals."""

from __future__ import annotations

import asyncio
import heapq
import time
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """Tells and waits for run time, in seconds from the run's anchor."""

    def now_s(self) -> float:
        """Return the seconds since the anchor; negative before it."""

    async def sleep_until(self, t_s: float) -> None:
        """Return at `t_s`, at once when that has passed."""


@dataclass(frozen=True, slots=True)
class RunClock:
    """Real time. `anchor_monotonic` is `time.monotonic()` at t = 0; all processes of a machine share that clock."""

    anchor_monotonic: float

    def now_s(self) -> float:
        """Return the seconds since the anchor."""
        return time.monotonic() - self.anchor_monotonic

    async def sleep_until(self, t_s: float) -> None:
        """Return at `t_s`, at once when that has passed."""
        await asyncio.sleep(max(0.0, t_s - self.now_s()))


@dataclass(slots=True)
class VirtualClock:
    """Time that moves only when every sleeper waits: `advance` wakes them in order."""

    t_s: float = 0.0
    _sleepers: list[tuple[float, int, asyncio.Event]] = field(default_factory=list)
    _count: int = 0

    def now_s(self) -> float:
        """Return the virtual now."""
        return self.t_s

    async def sleep_until(self, t_s: float) -> None:
        """Wait until `advance` has moved time to `t_s`."""
        if t_s <= self.t_s:
            await asyncio.sleep(0)
            return
        event = asyncio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (t_s, self._count, event))
        await event.wait()

    async def advance(self, to_s: float, *, settle: int = 20) -> None:
        """Move time to `to_s`, waking sleepers in order and letting each run before the next."""
        while True:
            for _ in range(settle):
                await asyncio.sleep(0)
            if not self._sleepers or self._sleepers[0][0] > to_s:
                break
            self.t_s, _, event = heapq.heappop(self._sleepers)
            event.set()
        self.t_s = max(self.t_s, to_s)
