"""The checker on a clock of the test's own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.core.resilience.guard import classify
from app.services.health import Cause, Dependency, HealthChecker, Status
from tests.app.conftest import until

if TYPE_CHECKING:
    from app.core.metrics import Metrics

INTERVAL_S = 0.02


@dataclass
class Target:
    """A dependency that does what the test says."""

    error: Exception | None = None
    hang: bool = False
    asked: int = 0
    now_s: float = 0.0
    never: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self) -> None:
        """Answer, fail or hang."""
        self.asked += 1
        if self.hang:
            await self.never.wait()
        if self.error is not None:
            raise self.error

    def clock(self) -> float:
        """Return the test's time."""
        return self.now_s


def _checker(metrics: Metrics, *targets: Target, critical: bool = True) -> HealthChecker:
    dependencies = [
        Dependency(f"d{n}", target.check, classify, critical=critical)
        for n, target in enumerate(targets)
    ]
    return HealthChecker(
        dependencies, metrics, interval_s=INTERVAL_S, timeout_s=0.05, clock=targets[0].clock
    )


async def test_not_checked_yet_is_not_ready(metrics: Metrics) -> None:
    """Before the first answer a critical dependency counts as failed: nobody is sent to what may not work."""
    target = Target(hang=True)
    async with _checker(metrics, target) as checker:
        report = checker.report()

    assert (report.status, report.critical_failures) == (Status.UNHEALTHY, ["d0"])
    assert report.components["d0"].reason is Cause.NOT_CHECKED


async def test_old_good_news_is_no_news(metrics: Metrics) -> None:
    """A good result that is older than three intervals and a timeout counts as a failure."""
    target = Target()
    async with _checker(metrics, target) as checker:
        await until(lambda: checker.report().status is Status.HEALTHY)
        target.hang = True
        asked = target.asked
        await until(lambda: target.asked > asked)
        target.now_s += 3 * INTERVAL_S + 0.05 + 0.001
        component = checker.report().components["d0"]

    assert (component.status, component.reason) == (Status.UNHEALTHY, Cause.STALE)


async def test_one_hanging_check_delays_no_other(metrics: Metrics) -> None:
    """Each dependency has its own watcher: while one hangs to its limit the other is asked on time."""
    stuck, well = Target(hang=True), Target()
    async with _checker(metrics, stuck, well):
        await until(lambda: stuck.asked >= 2)

    assert well.asked >= 2 * stuck.asked - 2


async def test_reasons_are_a_closed_list(metrics: Metrics) -> None:
    """Whatever a check raises, the report has one of the known reasons, and watching goes on."""
    errors = {
        Cause.REFUSED: ConnectionRefusedError(),
        Cause.RESET: ConnectionResetError(),
        Cause.TIMEOUT: TimeoutError(),
        Cause.ERROR: ValueError("postgresql://user:password@host"),
    }
    for cause, error in errors.items():
        target = Target(error=error)
        async with _checker(metrics, target) as checker:
            await until(lambda target=target: target.asked >= 2)  # type: ignore[misc]
            assert checker.report().components["d0"].reason is cause


async def test_only_critical_failures_make_it_unhealthy(metrics: Metrics) -> None:
    """A failure of what has a fallback is a degradation."""
    target = Target(error=ConnectionRefusedError())
    async with _checker(metrics, target, critical=False) as checker:
        await until(lambda: target.asked >= 2)
        report = checker.report()

    assert (report.status, report.critical_failures, report.optional_failures) == (
        Status.DEGRADED,
        [],
        ["d0"],
    )
