"""The last seconds of a load in memory: what the web UI shows where a run would write its ledger."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadtests.outcome import DROPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.model.invariants import Acknowledged
    from chaos.model.schedule import Due
    from loadtests.outcome import Outcome

WINDOW_S = 10.0


@dataclass(slots=True)
class Recent:
    """Remembers arrivals that ended within the last `WINDOW_S`: their classes, and how late they were sent."""

    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    _ends: deque[tuple[float, str, float]] = field(default_factory=deque)

    def begin(self, due: Due, sent_s: float, correlation_id: str) -> None:  # noqa: ARG002
        """Note that an arrival was sent."""
        self.in_flight += 1

    def end(self, due: Due, sent_s: float, done_s: float, outcome: Outcome) -> None:  # noqa: ARG002
        """Note how an arrival ended."""
        self.in_flight -= 1
        self._add(outcome.kind, sent_s - due.due_s)

    def drop(self, due: Due) -> None:  # noqa: ARG002
        """Note an arrival that was not sent for want of room."""
        self._add(DROPPED, 0.0)

    def acknowledge(self, write: Acknowledged) -> None:
        """Keep no receipts: people look at the load, and nobody asks later."""

    def forget(self) -> None:
        """Begin anew, as a new load does."""
        self.in_flight = 0
        self._ends.clear()

    def classes(self) -> Counter[str]:
        """Count the classes of the window."""
        self._trim()
        return Counter(kind for _, kind, _ in self._ends)

    def send_lag_p99_ms(self) -> float | None:
        """Return the 99th percentile of the window's send lag; None when nothing ended."""
        self._trim()
        lags = sorted(lag for _, kind, lag in self._ends if kind != DROPPED)
        return lags[int(0.99 * (len(lags) - 1))] * 1_000 if lags else None

    def _add(self, kind: str, lag_s: float) -> None:
        self._ends.append((self.clock(), kind, lag_s))
        self._trim()

    def _trim(self) -> None:
        oldest = self.clock() - WINDOW_S
        while self._ends and self._ends[0][0] < oldest:
            self._ends.popleft()
