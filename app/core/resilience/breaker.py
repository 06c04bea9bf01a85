"""A circuit breaker with the semantics of Resilience4j's COUNT_BASED window.

CLOSED    every call passes; the last `window` outcomes are kept. From `minimum_calls` on, a failure rate of
          `failure_rate` or a rate of `slow_call_rate` of calls slower than `slow_call_s` opens it.
OPEN      no call passes. After `open_s` the next call makes it HALF_OPEN.
HALF_OPEN exactly `half_open_calls` calls pass as probes; the others are refused. When all probes have reported,
          the same two rates decide: OPEN again or CLOSED with an empty window.

Two points are stricter than Resilience4j. A call that began in an earlier state no longer counts when it reports: a
hang from before the outage must not fail a probe round. And a cancelled call gives its permit back; it counts, as a
failure, only when it had already been slow, since impatient callers are how a hang shows itself first.

Everything runs on the event loop without a wait inside, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class BreakerState(StrEnum):
    """Where the breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When it opens and how it probes. Rates are shares of the counted calls, 0 to 1; times are seconds."""

    slow_call_s: float
    window: int = 50
    minimum_calls: int = 10
    failure_rate: float = 0.5
    slow_call_rate: float = 0.8
    open_s: float = 1.0
    half_open_calls: int = 3

    def __post_init__(self) -> None:
        """Refuse what could never open or never close."""
        for name in ("window", "minimum_calls", "half_open_calls"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("failure_rate", "slow_call_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0 and at most 1")
        for name in ("slow_call_s", "open_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0 seconds")


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state. `failure_rate` and `slow_rate` are those of the window that decided it."""

    breaker: str
    before: BreakerState
    after: BreakerState
    failure_rate: float = 0.0
    slow_rate: float = 0.0
    calls: int = 0


class BreakerOpenError(Exception):
    """The call was not made. `retry_after_s` is when the breaker will look again."""

    def __init__(self, name: str, retry_after_s: float) -> None:
        super().__init__(f"breaker {name} is open; it probes again in {retry_after_s:.2f} s")
        self.name = name
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class Permit:
    """The right to make one call, to be reported once to the breaker that gave it; more reports change nothing.

    `allowance_s` is what this call may take beyond others before it counts as slow: that of the bytes it moves.
    """

    generation: int
    started: float
    probe: bool
    reported: bool = False
    allowance_s: float = 0.0


class Breaker:
    """One breaker for one dependency. `on_transition` is told every change of state, once."""

    def __init__(
        self,
        name: str,
        config: BreakerConfig,
        clock: Callable[[], float] = time.monotonic,
        on_transition: Callable[[Transition], None] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._on_transition = on_transition
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._opened_at = 0.0
        self._probes_left = 0
        self._outcomes: deque[tuple[bool, bool]] = deque()
        self._failures = 0
        self._slow = 0

    @property
    def state(self) -> BreakerState:
        """The state as of the last call; time alone does not end OPEN, the next call does."""
        return self._state

    @property
    def refusing(self) -> bool:
        """Whether a call made now would be refused."""
        if self._state is BreakerState.OPEN:
            return self._clock() - self._opened_at < self.config.open_s
        return self._state is BreakerState.HALF_OPEN and self._probes_left == 0

    def acquire(self) -> Permit:
        """Return the right to make one call, or raise `BreakerOpenError`."""
        now = self._clock()
        if self._state is BreakerState.OPEN and now - self._opened_at >= self.config.open_s:
            self._enter(BreakerState.HALF_OPEN)
        if self._state is BreakerState.CLOSED:
            return Permit(self._generation, now, probe=False)
        if self._state is BreakerState.HALF_OPEN and self._probes_left > 0:
            self._probes_left -= 1
            return Permit(self._generation, now, probe=True)
        left = self._opened_at + self.config.open_s - now
        raise BreakerOpenError(self.name, max(0.0, left))

    async def call(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Run `fn` when the breaker allows it; every exception but cancellation is a failure."""
        permit = self.acquire()
        try:
            result = await fn()
        except asyncio.CancelledError:
            self.cancelled(permit)
            raise
        except BaseException:
            self.failed(permit)
            raise
        self.succeeded(permit)
        return result

    def succeeded(self, permit: Permit) -> None:
        """Report that the dependency answered, which may still have been slow."""
        self._report(permit, failed=False)

    def failed(self, permit: Permit) -> None:
        """Report that the dependency did not answer, or with an error of its own."""
        self._report(permit, failed=True)

    def cancelled(self, permit: Permit) -> None:
        """Report that the caller left before the answer: a failure when that was slow, otherwise no news."""
        if self._slow_by_now(permit):
            self._report(permit, failed=True)
        elif not permit.reported:
            permit.reported = True
            self._give_back(permit.generation)

    def _slow_by_now(self, permit: Permit) -> bool:
        return self._clock() - permit.started >= self.config.slow_call_s + permit.allowance_s

    def _report(self, permit: Permit, *, failed: bool) -> None:
        if permit.reported:
            return
        permit.reported = True
        if permit.generation == self._generation:
            self._record(failed=failed, slow=self._slow_by_now(permit))

    def _record(self, *, failed: bool, slow: bool) -> None:
        half_open = self._state is BreakerState.HALF_OPEN
        size = self.config.half_open_calls if half_open else self.config.window
        if len(self._outcomes) == size:
            old_failed, old_slow = self._outcomes.popleft()
            self._failures -= old_failed
            self._slow -= old_slow
        self._outcomes.append((failed, slow))
        self._failures += failed
        self._slow += slow
        needed = size if half_open else min(self.config.minimum_calls, size)
        if len(self._outcomes) < needed:
            return
        if self._over_threshold():
            self._enter(BreakerState.OPEN)
        elif half_open:
            self._enter(BreakerState.CLOSED)

    def _over_threshold(self) -> bool:
        calls = len(self._outcomes)
        return (
            self._failures >= self.config.failure_rate * calls
            or self._slow >= self.config.slow_call_rate * calls
        )

    def _give_back(self, generation: int) -> None:
        if generation == self._generation and self._state is BreakerState.HALF_OPEN:
            self._probes_left += 1

    def _enter(self, state: BreakerState) -> None:
        calls = len(self._outcomes)
        transition = Transition(
            self.name,
            self._state,
            state,
            failure_rate=self._failures / calls if calls else 0.0,
            slow_rate=self._slow / calls if calls else 0.0,
            calls=calls,
        )
        self._state = state
        self._generation += 1
        self._outcomes.clear()
        self._failures = self._slow = 0
        self._probes_left = self.config.half_open_calls if state is BreakerState.HALF_OPEN else 0
        if state is BreakerState.OPEN:
            self._opened_at = self._clock()
        if self._on_transition is not None:
            self._on_transition(transition)
