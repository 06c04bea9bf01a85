"""Rate limits by a sliding window counter: two fixed windows, the older one weighted by how much of it still counts.

Times are whole microseconds and the arithmetic is that of whole numbers, so that the script in Redis decides to the
microsecond as this module does.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """`count` hits a `period_s`: at most `count` in a fixed window, fewer than twice that in any period."""

    name: str
    count: int
    period_s: float

    def __post_init__(self) -> None:
        if self.count < 1 or self.period_us < 1:
            raise ValueError(
                f"limit {self.name}: {self.count} in {self.period_s} s; expected at least 1 in at"
                " least a microsecond"
            )

    @property
    def period_us(self) -> int:
        """The period in microseconds."""
        return round(self.period_s * MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Decision:
    """`allowed` is about the hit that was asked for; `retry_after_s` says when the next one would be allowed.

    So an allowed hit with `retry_after_s` above 0 was the last one for now.
    """

    allowed: bool
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class _Window:
    """The hits of the fixed window with number `index`, and of the one before."""

    index: int
    current: int
    previous: int

    def at(self, index: int) -> _Window:
        """Return what of it counts in window `index`."""
        if index <= self.index:
            return self
        if index == self.index + 1:
            return _Window(index, 0, self.current)
        return _Window(index, 0, 0)


class LocalLimiter:
    """Counts in this process. At most `max_keys` are remembered; the least recently used is forgotten first.

    A key belongs to one limit. A hit that is refused is not counted, so who keeps trying is not refused for ever.
    """

    def __init__(self, max_keys: int, clock: Callable[[], float] = time.monotonic) -> None:
        if max_keys < 1:
            raise ValueError(f"max_keys={max_keys} must be at least 1")
        self._max_keys = max_keys
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def peek(self, key: str, limit: Limit, *, ahead: int = 0) -> Decision:
        """Say whether a hit would be allowed after `ahead` others; count nothing."""
        window, elapsed_us = self._now(key, limit)
        wait_us = _wait_us(window, elapsed_us, limit, ahead + 1)
        return Decision(wait_us == 0, wait_us / MICROSECONDS)

    def hit(self, key: str, limit: Limit) -> Decision:
        """Count one hit if it is allowed."""
        window, elapsed_us = self._now(key, limit)
        wait_us = _wait_us(window, elapsed_us, limit, 1)
        if wait_us > 0:
            return Decision(allowed=False, retry_after_s=wait_us / MICROSECONDS)
        counted = _Window(window.index, window.current + 1, window.previous)
        self._windows[key] = counted
        self._windows.move_to_end(key)
        if len(self._windows) > self._max_keys:
            self._windows.popitem(last=False)
        next_us = _wait_us(counted, elapsed_us, limit, 1)
        return Decision(allowed=True, retry_after_s=next_us / MICROSECONDS)

    def forget(self, key: str) -> None:
        """Count from nothing again."""
        self._windows.pop(key, None)

    def _now(self, key: str, limit: Limit) -> tuple[_Window, int]:
        """Return the window of this moment and how far into it we are."""
        index, elapsed_us = divmod(int(self._clock() * MICROSECONDS), limit.period_us)
        kept = self._windows.get(key)
        if kept is None:
            return _Window(index, 0, 0), elapsed_us
        self._windows.move_to_end(key)
        # A clock that went back stands still until it has caught up: nobody's failures are lost by it.
        return kept.at(index), elapsed_us if index >= kept.index else 0


def _wait_us(window: _Window, elapsed_us: int, limit: Limit, hits: int) -> int:
    """Return how long until `hits` more are allowed; 0 when they are now.

    They are while `previous * (period - elapsed) / period + current + hits <= count`. More hits than the limit ever
    allows wait for two periods, after which nothing of now counts.
    """
    period_us = limit.period_us
    room = limit.count - window.current - hits
    if room >= 0:
        if window.previous == 0:
            return 0
        return max(0, period_us - room * period_us // window.previous - elapsed_us)
    until_next_us = period_us - elapsed_us
    room = limit.count - hits
    if room < 0:
        return 2 * period_us
    # In the next window what is current now is the previous one.
    return until_next_us + max(0, period_us - room * period_us // window.current)
