"""The breaker among many calls at once: what may be let through, and that no end of a call wedges it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.resilience.breaker import Breaker, BreakerConfig, BreakerOpenError, BreakerState
from app.core.resilience.bulkhead import Bulkhead
from app.core.resilience.guard import DependencyUnavailableError, Guard
from tests.app.conftest import state_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLS = 50
SLOW_S = 1.0
OPEN_S = 4.0


@dataclass
class Dependency:
    """Calls wait in it until they are let go; it counts how many are inside, and how many ever were."""

    now: float = 100.0
    inside: int = 0
    most_inside: int = 0
    entered: int = 0
    ends: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    begun: dict[int, float] = field(default_factory=dict)

    def clock(self) -> float:
        """Return the test's time."""
        return self.now

    def call(self, number: int) -> Callable[[], Awaitable[None]]:
        """Return the call of this number."""

        async def wait() -> None:
            self.entered += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.begun[number] = self.now
            self.ends[number] = asyncio.get_running_loop().create_future()
            try:
                await self.ends[number]
            finally:
                self.inside -= 1
                del self.ends[number]

        return wait


def _half_open_soon(dependency: Dependency, probes: int) -> Breaker:
    """Return a breaker whose next call makes it half-open."""
    config = BreakerConfig(
        slow_call_s=SLOW_S, window=5, minimum_calls=5, open_s=OPEN_S, half_open_calls=probes
    )
    breaker = Breaker("test", config, dependency.clock)
    for permit in [breaker.acquire() for _ in range(5)]:
        breaker.failed(permit)
    assert breaker.state is BreakerState.OPEN
    dependency.now += OPEN_S
    return breaker


async def _settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _end(dependency: Dependency, tasks: dict[int, asyncio.Task[None]], how: str) -> None:
    """End the call that has been inside for longest."""
    number = min(dependency.ends)
    if how.endswith("late"):
        dependency.now += SLOW_S
    if how.startswith("cancelled"):
        tasks[number].cancel()
    elif how.startswith("failed"):
        dependency.ends[number].set_exception(OSError("refused"))
    else:
        dependency.ends[number].set_result(None)
    await _settle()


@given(
    probes=st.integers(1, 5),
    ends=st.lists(
        st.sampled_from(("answered", "failed", "answered late", "cancelled", "cancelled late")),
        max_size=12,
    ),
)
@settings(max_examples=100, deadline=None)
def test_half_open_never_lets_more_than_its_probes_through(probes: int, ends: list[str]) -> None:
    """Of 50 concurrent calls no more than the permitted are ever inside, however those before them ended.

    A probe that was cancelled early makes room for one other; every other end uses its permit up.
    """
    asyncio.run(_probe(probes, ends))


async def _probe(probes: int, ends: list[str]) -> None:
    dependency = Dependency()
    breaker = _half_open_soon(dependency, probes)
    given_back = 0
    tasks: dict[int, asyncio.Task[None]] = {}

    async def call(number: int) -> None:
        with suppress(BreakerOpenError, OSError):
            await breaker.call(dependency.call(number))

    async def arrive() -> None:
        begin = len(tasks)
        tasks.update({n: asyncio.create_task(call(n)) for n in range(begin, begin + CALLS)})
        await _settle()

    await arrive()
    assert dependency.inside == probes
    for how in ends:
        if not dependency.ends or breaker.state is not BreakerState.HALF_OPEN:
            break
        in_time = dependency.now - dependency.begun[min(dependency.ends)] < SLOW_S
        given_back += how == "cancelled" and in_time
        await _end(dependency, tasks, how)
        if breaker.state is BreakerState.HALF_OPEN:
            await arrive()
            assert dependency.entered == probes + given_back
    assert dependency.most_inside <= probes
    while dependency.ends and breaker.state is BreakerState.HALF_OPEN:
        await _end(dependency, tasks, "answered")
    assert breaker.state is not BreakerState.HALF_OPEN or not breaker.refusing
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("late", [False, True])
async def test_a_cancelled_call_is_counted_when_it_was_slow_and_frees_its_permit(
    *, late: bool
) -> None:
    """All probes are cancelled: early ones leave the question open and their places free, late ones are the answer."""
    dependency = Dependency()
    breaker = _half_open_soon(dependency, 3)
    tasks = [asyncio.create_task(breaker.call(dependency.call(n))) for n in range(3)]
    await _settle()
    assert breaker.refusing
    if late:
        dependency.now += SLOW_S
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert state_of(breaker) is (BreakerState.OPEN if late else BreakerState.HALF_OPEN)
    assert breaker.refusing is late
    assert dependency.inside == 0


async def test_the_guard_lets_no_more_through_than_its_breaker() -> None:
    """With a bulkhead that has room for all, 50 calls through the guard in half-open are three calls."""
    dependency = Dependency()
    breaker = _half_open_soon(dependency, 3)
    guard = Guard(
        "test",
        timeout_s=5.0,
        bulkhead=Bulkhead("test", CALLS, CALLS, max_wait_s=1.0),
        breaker=breaker,
    )
    tasks = [asyncio.create_task(guard.call(dependency.call(n))) for n in range(CALLS)]
    await _settle()

    assert dependency.entered == 3
    for end in list(dependency.ends.values()):
        end.set_result(None)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(each, DependencyUnavailableError) for each in results) == CALLS - 3
    assert state_of(breaker) is BreakerState.CLOSED
