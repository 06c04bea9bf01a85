"""Whether the backend can do its work: watched in the background, told from the last result.

Probes ask often and from many sides. If each question became a call to each dependency, probes would add load to what
is already ill, and a hanging dependency would make the answer hang. So every dependency has one watcher, with its own
limit, that never shares a connection, a bulkhead or a breaker with requests; answers are read from memory and say how
old they are.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import structlog

from app.core.resilience.breaker import Breaker, BreakerState  # noqa: TC001 - FastAPI reads the report's types
from app.core.resilience.guard import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from app.core.metrics import Metrics

CHECK_TIMEOUT_S = 0.5
STALE_AFTER_INTERVALS = 3

log = structlog.get_logger(component="health")


class Status(StrEnum):
    """How the backend, or one dependency, is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    DISABLED = "disabled"


class Cause(StrEnum):
    """Why a dependency is not healthy. A closed list: an error's own text could name hosts and users."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"
    ERROR = "error"
    NOT_CHECKED = "not_checked"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Dependency:
    """What is watched. A critical one is needed for every answer; one that is not enabled was switched off.

    `check` asks it for a sign of life on a connection of its own: an exhausted pool must not look like a dead
    database. It raises when there is none; `classify` names why.
    """

    name: str
    check: Callable[[], Awaitable[None]]
    classify: Callable[[Exception], Reason | None]
    critical: bool = False
    enabled: bool = True
    breaker: Breaker | None = None


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One dependency, as of `age_seconds` ago."""

    status: Status
    critical: bool
    reason: Cause | None = None
    response_time_ms: float | None = None
    age_seconds: float | None = None
    breaker: BreakerState | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The whole. Only a critical failure makes it unhealthy; the others have fallbacks."""

    status: Status
    critical_failures: list[str]
    optional_failures: list[str]
    components: dict[str, ComponentHealth]


@dataclass(frozen=True, slots=True)
class _Result:
    cause: Cause | None
    duration_s: float
    at: float


class HealthChecker:
    """Watches dependencies while it is open (`async with`)."""

    def __init__(
        self,
        dependencies: Sequence[Dependency],
        metrics: Metrics,
        *,
        interval_s: float,
        timeout_s: float = CHECK_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check each dependency every `interval_s`, giving it `timeout_s`."""
        self._dependencies = dependencies
        self._metrics = metrics
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._results: dict[str, _Result] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start watching; the first checks begin at once. What was switched off is missed by nobody."""
        for dependency in self._dependencies:
            if not dependency.enabled:
                self._metrics.app_dependency_up.labels(dependency.name).set(1)
        self._watchers = [
            asyncio.create_task(self._watch(dependency), name=f"health {dependency.name}")
            for dependency in self._dependencies
            if dependency.enabled
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop watching. A check under way ends by itself, within its limit.

        It is not cancelled: redis-py swallows a cancellation that comes while it connects, and asyncpg leaves an
        error behind that nobody can fetch.
        """
        self._closing.set()
        if self._watchers:
            await asyncio.wait(self._watchers, timeout=2 * self._timeout_s)

    def report(self) -> HealthReport:
        """Return what is known now. What was last seen too long ago counts as not known, and so as failed."""
        components = {d.name: self._component(d) for d in self._dependencies}
        failed = [name for name, c in components.items() if c.status is Status.UNHEALTHY]
        critical = [name for name in failed if components[name].critical]
        optional = [name for name in failed if not components[name].critical]
        status = Status.HEALTHY
        if failed:
            status = Status.UNHEALTHY if critical else Status.DEGRADED
        return HealthReport(status, critical, optional, components)

    def _component(self, dependency: Dependency) -> ComponentHealth:
        breaker = dependency.breaker.state if dependency.breaker else None
        if not dependency.enabled:
            return ComponentHealth(Status.DISABLED, dependency.critical, breaker=breaker)
        result = self._results.get(dependency.name)
        if result is None:
            return ComponentHealth(
                Status.UNHEALTHY, dependency.critical, Cause.NOT_CHECKED, breaker=breaker
            )
        age_s = self._clock() - result.at
        stale = age_s > STALE_AFTER_INTERVALS * self._interval_s + self._timeout_s
        cause = Cause.STALE if stale else result.cause
        return ComponentHealth(
            Status.UNHEALTHY if cause else Status.HEALTHY,
            dependency.critical,
            cause,
            response_time_ms=round(result.duration_s * 1000, 2),
            age_seconds=round(age_s, 3),
            breaker=breaker,
        )

    async def _watch(self, dependency: Dependency) -> None:
        while not self._closing.is_set():
            started = self._clock()
            cause = await self._ask(dependency)
            ended = self._clock()
            before = self._results.get(dependency.name)
            result = _Result(cause, ended - started, ended)
            self._results[dependency.name] = result
            self._publish(dependency, before, result)
            pause_s = max(0.0, started + self._interval_s - self._clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._closing.wait()

    async def _ask(self, dependency: Dependency) -> Cause | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await dependency.check()
        except Exception as error:  # noqa: BLE001 - a check that breaks in any way is a failed check
            return _cause(dependency.classify(error))
        return None

    def _publish(self, dependency: Dependency, before: _Result | None, now: _Result) -> None:
        """Set the metrics; log when the answer changed, so that an outage is two lines and not a flood."""
        name = dependency.name
        self._metrics.app_dependency_up.labels(name).set(0 if now.cause else 1)
        self._metrics.app_dependency_check_duration_seconds.labels(name).observe(now.duration_s)
        was_up = before is None or before.cause is None
        duration_ms = round(now.duration_s * 1000, 2)
        if now.cause and was_up:
            write = log.critical if dependency.critical else log.warning
            write("health_check_failed", dependency=name, reason=now.cause, duration_ms=duration_ms)
        elif not now.cause and not was_up:
            log.info("health_check_recovered", dependency=name, duration_ms=duration_ms)


def _cause(reason: Reason | None) -> Cause:
    match reason:
        case Reason.TIMEOUT | Reason.REFUSED | Reason.RESET:
            return Cause(reason.value)
        case _:
            return Cause.ERROR
