"""The one way to call a dependency: timeout, bulkhead and breaker around it, one error out of it."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from app.core.errors import UnavailableError
from app.core.resilience.breaker import (
    Breaker,
    BreakerConfig,
    BreakerOpenError,
    BreakerState,
    Permit,
    Transition,
)
from app.core.resilience.bulkhead import Bulkhead, BulkheadFullError
from app.core.resilience.deadline import clear_deadline, remaining_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

log = structlog.get_logger(component="resilience")


class Reason(StrEnum):
    """Why a dependency was unavailable. A closed list: it is a metric label."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"
    BREAKER_OPEN = "breaker_open"
    BULKHEAD_FULL = "bulkhead_full"
    DEADLINE = "deadline"
    ERROR = "error"


class DependencyUnavailableError(UnavailableError):
    """The dependency did not do its work. Callers with a fallback catch it; without one it answers 503."""

    def __init__(self, dependency: str, reason: Reason, retry_after_s: float = 1.0) -> None:
        super().__init__(dependency, retry_after_s)
        self.reason = reason


class GuardGauge(Protocol):
    """Where the states of breakers and bulkheads are shown (`Metrics`)."""

    def set_breaker_state(self, name: str, state: str) -> None:
        """Show that breaker `name` is in `state`."""

    def watch_bulkhead(
        self, name: str, *, in_flight: Callable[[], int], waiting: Callable[[], int]
    ) -> None:
        """Show how many calls hold a place of bulkhead `name` or wait for one."""


def classify(error: Exception) -> Reason | None:
    """Name why a call failed, or None when the dependency is not to blame (the caller's own error).

    Libraries wrap the socket's error, so the whole chain is looked at, outermost first.
    """
    unavailable = False
    for link in causes(error):
        if isinstance(link, ConnectionRefusedError):
            return Reason.REFUSED
        if isinstance(link, ConnectionError | EOFError):
            return Reason.RESET
        if isinstance(link, TimeoutError):
            return Reason.TIMEOUT
        unavailable = unavailable or isinstance(link, OSError)
    return Reason.ERROR if unavailable else None


def causes(error: BaseException) -> list[BaseException]:
    """Return the error and what caused it, outermost first."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


class Guard:
    """What stands around every call of one dependency.

    A full bulkhead says that callers are too many, not that the dependency is ill, so the breaker hears only of calls
    that were made. There is no retry: a retry in an outage doubles the load and the wait, and each fallback is
    cheaper than a second try.
    """

    def __init__(
        self,
        dependency: str,
        *,
        timeout_s: float,
        bulkhead: Bulkhead,
        breaker: Breaker,
        probe_timeout_s: float | None = None,
        classify: Callable[[Exception], Reason | None] = classify,
    ) -> None:
        self.dependency = dependency
        self.timeout_s = timeout_s
        self.bulkhead = bulkhead
        self.breaker = breaker
        # A probe is a user's request spent on a dependency that was just ill: it gets less patience.
        self.probe_timeout_s = timeout_s if probe_timeout_s is None else probe_timeout_s
        self._classify = classify
        self._probes: set[asyncio.Task[None]] = set()

    def beside(self, bulkhead: Bulkhead) -> Guard:
        """Build a guard for other calls of the dependency: the same limits and breaker, places of their own."""
        return Guard(
            self.dependency,
            timeout_s=self.timeout_s,
            bulkhead=bulkhead,
            breaker=self.breaker,
            probe_timeout_s=self.probe_timeout_s,
            classify=self._classify,
        )

    async def call(
        self,
        fn: Callable[[], Awaitable[T]],
        *,
        probe_beside: bool = False,
        probe: Callable[[], Awaitable[object]] | None = None,
        allowance_s: float = 0.0,
    ) -> T:
        """Run `fn` within all limits; raise `DependencyUnavailableError` when the dependency failed.

        An error that is not the dependency's (by `classify`) passes through and counts as an answer.

        With `probe_beside` no caller ever waits for a probe: while the breaker is not closed each call is refused at
        once, and those that the breaker picks as probes run for nobody, beside it. For calls that have a fallback and
        change nothing; a call that changes something names a harmless `probe` to run in its place.

        `allowance_s` is added to the time limit, and to what counts as slow: for the bytes that the call moves.
        """
        if (probe_beside or probe is not None) and self.breaker.state is not BreakerState.CLOSED:
            if not self.breaker.refusing:
                self._start_probe(probe or fn)
            raise self._breaker_is_open()
        if self.breaker.refusing:
            # Before the bulkhead: while stuck calls still hold its slots, nobody should wait for one.
            raise self._breaker_is_open()
        try:
            async with self.bulkhead:
                try:
                    permit = self.breaker.acquire()
                except BreakerOpenError as refused:
                    raise self._breaker_is_open() from refused
                permit.allowance_s = allowance_s
                return await self._run(fn, permit)
        except BulkheadFullError as full:
            raise DependencyUnavailableError(self.dependency, Reason.BULKHEAD_FULL) from full

    def _breaker_is_open(self) -> DependencyUnavailableError:
        return DependencyUnavailableError(
            self.dependency, Reason.BREAKER_OPEN, self.breaker.config.open_s
        )

    def _start_probe(self, fn: Callable[[], Awaitable[object]]) -> None:
        """Run `fn` as a probe in a task of its own, which outlives the request and its deadline."""
        permit = self.breaker.acquire()
        context = copy_context()
        context.run(clear_deadline)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._probe(fn, permit), context=context)
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _probe(self, fn: Callable[[], Awaitable[object]], permit: Permit) -> None:
        try:
            async with self.bulkhead:
                await self._run(fn, permit)
        except BulkheadFullError:
            self.breaker.cancelled(permit)
        except Exception as error:  # noqa: BLE001 - the breaker has heard of it, and nobody waits
            log.debug("probe_failed", breaker=self.dependency, error_type=type(error).__name__)

    async def _run(self, fn: Callable[[], Awaitable[T]], permit: Permit) -> T:
        left_s = remaining_s()
        if left_s <= 0:
            self.breaker.cancelled(permit)
            raise DependencyUnavailableError(self.dependency, Reason.DEADLINE)
        patience_s = self.probe_timeout_s if permit.probe else self.timeout_s
        patience_s += permit.allowance_s
        timeout = asyncio.timeout(min(patience_s, left_s))
        try:
            async with timeout:
                result = await fn()
        except asyncio.CancelledError:
            self.breaker.cancelled(permit)
            raise
        except Exception as error:
            if timeout.expired() and left_s < patience_s:
                # The caller ran out of time, which says little about the dependency.
                self.breaker.cancelled(permit)
                raise DependencyUnavailableError(self.dependency, Reason.DEADLINE) from error
            reason = Reason.TIMEOUT if timeout.expired() else self._classify(error)
            if reason is None:
                self.breaker.succeeded(permit)
                raise
            self.breaker.failed(permit)
            raise DependencyUnavailableError(self.dependency, reason) from error
        except BaseException:
            self.breaker.cancelled(permit)
            raise
        self.breaker.succeeded(permit)
        return result


def build_guard(
    dependency: str,
    *,
    timeout_s: float,
    breaker: BreakerConfig,
    max_concurrent: int,
    max_waiting: int = 0,
    max_wait_s: float = 0.1,
    probe_timeout_s: float | None = None,
    classify: Callable[[Exception], Reason | None] = classify,
    gauge: GuardGauge,
) -> Guard:
    """Build the guard of `dependency`; `gauge` shows its breaker, which also reports to the log, and its bulkhead."""

    def changed(transition: Transition) -> None:
        gauge.set_breaker_state(dependency, transition.after)
        log_transition(transition)

    gauge.set_breaker_state(dependency, BreakerState.CLOSED)
    bulkhead = Bulkhead(dependency, max_concurrent, max_waiting, max_wait_s=max_wait_s)
    gauge.watch_bulkhead(
        dependency, in_flight=lambda: bulkhead.in_flight, waiting=lambda: bulkhead.waiting
    )
    return Guard(
        dependency,
        timeout_s=timeout_s,
        bulkhead=bulkhead,
        breaker=Breaker(dependency, breaker, on_transition=changed),
        probe_timeout_s=probe_timeout_s,
        classify=classify,
    )


def log_transition(transition: Transition) -> None:
    """Write one line per change of state; single calls are counted, not logged."""
    fields = {
        "breaker": transition.breaker,
        "before": str(transition.before),
        "failure_rate": round(transition.failure_rate, 3),
        "slow_rate": round(transition.slow_rate, 3),
        "calls": transition.calls,
    }
    match transition.after:
        case BreakerState.OPEN:
            log.warning("breaker_opened", **fields)
        case BreakerState.HALF_OPEN:
            log.info("breaker_half_open", **fields)
        case BreakerState.CLOSED:
            log.info("breaker_closed", **fields)
