"""Load shedding: bursts pass, standing queues do not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from app.core.resilience.shedding import INTERVAL_S, TICK_S, LoopLagMonitor, Shedder
from tests.app.conftest import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.metrics import Metrics

WAIT_S = 0.1


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A virtual clock."""
    return Clock()


@pytest.fixture
def shedder(metrics: Metrics, clock: Clock) -> Shedder:
    """A shedder on the virtual clock."""
    return Shedder(metrics, max_in_flight=3, wait_s=WAIT_S, clock=clock)


def _observe_for(shedder: Shedder, clock: Clock, wait_s: float, seconds: float) -> None:
    """Observe the same wait each tick."""
    for _ in range(round(seconds / TICK_S)):
        shedder.observe(wait_s)
        clock.now += TICK_S


def test_short_waits_admit(shedder: Shedder, clock: Clock) -> None:
    """A wait at the limit is no overload, for however long."""
    _observe_for(shedder, clock, WAIT_S, 10.0)

    assert shedder.admit() is None


def test_a_burst_is_not_shed(shedder: Shedder, clock: Clock) -> None:
    """Long waits that end within an interval do no harm, so nobody is refused."""
    for _ in range(10):
        _observe_for(shedder, clock, 10 * WAIT_S, INTERVAL_S - 2 * TICK_S)
        assert not shedder.overloaded
        shedder.observe(0.0)


def test_a_standing_queue_is_shed(
    shedder: Shedder, clock: Clock, sample: Callable[..., float]
) -> None:
    """When even the shortest wait of an interval was too long, requests are refused and counted by reason."""
    _observe_for(shedder, clock, 1.01 * WAIT_S, INTERVAL_S + 2 * TICK_S)

    assert [shedder.admit() for _ in range(3)] == ["queueing"] * 3
    assert sample("http_requests_shed_total", reason="queueing") == 3
    assert shedder.in_flight == 0


def test_one_short_wait_ends_it(shedder: Shedder, clock: Clock) -> None:
    """An empty queue is proof enough; the next overload needs an interval again."""
    _observe_for(shedder, clock, 1.0, 2 * INTERVAL_S)
    shedder.observe(0.0)
    assert shedder.admit() is None

    shedder.observe(1.0)
    assert shedder.admit() is None


def test_waits_longer_than_the_interval(shedder: Shedder, clock: Clock) -> None:
    """A loop that takes a turn each second is overloaded, though an interval holds at most one measurement."""
    for _ in range(2):
        shedder.observe(1.0)
        clock.now += 1.0

    assert shedder.admit() == "queueing"


def test_hard_cap(shedder: Shedder, sample: Callable[..., float]) -> None:
    """Whatever the wait, so many are in flight and no more; who ends makes room."""
    assert [shedder.admit() for _ in range(4)] == [None, None, None, "in_flight"]
    assert sample("http_requests_in_flight") == 3
    assert sample("http_requests_shed_total", reason="in_flight") == 1

    shedder.release()
    assert shedder.admit() is None


def test_logged_by_transition(shedder: Shedder, clock: Clock) -> None:
    """An overload is one line at its beginning and one at its end."""
    with capture_logs() as lines:
        _observe_for(shedder, clock, 1.0, 3 * INTERVAL_S)
        _observe_for(shedder, clock, 0.0, 3 * INTERVAL_S)

    assert [line["event"] for line in lines] == ["shedding_began", "shedding_ended"]


async def test_a_blocked_loop_is_seen(metrics: Metrics, sample: Callable[..., float]) -> None:
    """A loop that is really kept busy is shed for, and let be when it is free again."""
    shedder = Shedder(metrics, max_in_flight=3, wait_s=0.05)

    async def hog() -> None:
        while not shedder.overloaded:
            time.sleep(0.1)  # noqa: ASYNC251 - it blocks on purpose
            await asyncio.sleep(0)

    async with LoopLagMonitor(shedder, metrics):
        await asyncio.wait_for(hog(), 10.0)
        assert shedder.admit() == "queueing"
        assert sample("event_loop_lag_seconds_sum") >= INTERVAL_S
        await until(lambda: not shedder.overloaded)
        assert shedder.admit() is None


async def test_the_monitor_ends(metrics: Metrics) -> None:
    """Nothing runs on when its block has ended."""
    before = asyncio.all_tasks()
    async with LoopLagMonitor(Shedder(metrics, max_in_flight=1, wait_s=0.1), metrics):
        assert asyncio.all_tasks() != before
    assert asyncio.all_tasks() == before
