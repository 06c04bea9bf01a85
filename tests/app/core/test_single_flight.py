"""One run per key, shared by all who ask, lost by none who stays."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from app.core.resilience.deadline import deadline, remaining_s
from app.core.resilience.single_flight import SingleFlight


class Work:
    """Work that counts its runs and ends when told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.cancelled = 0
        self.release = asyncio.Event()

    async def __call__(self) -> int:
        """Return which run this is."""
        self.runs += 1
        number = self.runs
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


class Clock:
    """Time that moves only when told to."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_one_key_share_one_run() -> None:
    """50 callers at once cost one run; another key has its own."""
    flights, work, other = SingleFlight[int](), Work(), Work()
    callers = [asyncio.create_task(flights.do("a", work)) for _ in range(50)]
    callers.append(asyncio.create_task(flights.do("b", other)))
    await settle()
    work.release.set()
    other.release.set()

    assert await asyncio.gather(*callers) == [1] * 51
    assert (work.runs, other.runs) == (1, 1)


async def test_without_linger_the_next_caller_runs_anew() -> None:
    """Nothing is remembered unless it was asked for."""
    flights, work = SingleFlight[int](), Work()
    work.release.set()

    assert [await flights.do("a", work) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_caller_that_leaves_takes_nobody_along(leaver: int) -> None:
    """Whether it is the one that started the run or one that joined it."""
    flights, work = SingleFlight[int](), Work()
    callers = [asyncio.create_task(flights.do("a", work)) for _ in range(3)]
    await settle()
    callers[leaver].cancel()
    await settle()
    assert callers[leaver].cancelled()
    work.release.set()

    stayed = [caller for number, caller in enumerate(callers) if number != leaver]
    assert await asyncio.gather(*stayed) == [1, 1]
    assert work.cancelled == 0


async def test_work_that_nobody_waits_for_is_ended() -> None:
    """When the last caller leaves the work is cancelled, and who comes later starts afresh."""
    flights, work = SingleFlight[int](), Work()
    callers = [asyncio.create_task(flights.do("a", work)) for _ in range(3)]
    await settle()
    for caller in callers:
        caller.cancel()
    await settle()
    assert work.cancelled == 1

    work.release.set()
    assert await flights.do("a", work) == 2


async def test_an_error_reaches_every_caller_and_is_not_kept() -> None:
    """A failed run is no result: the next caller tries again."""
    flights = SingleFlight[int](linger_s=60.0)
    runs = 0

    async def fail() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        raise LookupError(f"run {runs}")

    results = await asyncio.gather(
        *(flights.do("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [str(error) for error in results] == ["run 1"] * 3
    with pytest.raises(LookupError, match="run 2"):
        await flights.do("a", fail)


async def test_a_result_lingers_for_its_time_only() -> None:
    """Within `linger_s` no second run, after it a new one."""
    clock = Clock()
    flights, work = SingleFlight[int](linger_s=0.5, clock=clock), Work()
    work.release.set()
    assert await flights.do("a", work) == 1
    clock.now = 0.49
    assert await flights.do("a", work) == 1
    clock.now = 0.5
    assert await flights.do("a", work) == 2


async def test_what_lingers_is_bounded() -> None:
    """The oldest results go first, so that memory does not grow with the number of keys."""
    flights, work = SingleFlight[int](linger_s=60.0, max_lingering=2), Work()
    work.release.set()
    for key in "abc":
        await flights.do(key, work)

    assert work.runs == 3
    await flights.do("c", work)
    await flights.do("b", work)
    assert work.runs == 3
    await flights.do("a", work)
    assert work.runs == 4


async def test_what_was_forgotten_is_neither_joined_nor_kept() -> None:
    """A caller after `forget` gets a run that began after it; the old run's callers get theirs."""
    flights, work = SingleFlight[int](linger_s=60.0), Work()
    before = asyncio.create_task(flights.do("a", work))
    await settle()
    flights.forget("a")
    after = asyncio.create_task(flights.do("a", work))
    await settle()
    work.release.set()

    assert (await before, await after) == (1, 2)
    assert await flights.do("a", work) == 2


async def test_the_work_has_more_time_than_its_first_caller() -> None:
    """The first caller's deadline ends its own wait, not the work that others wait for."""
    flights, work = SingleFlight[int](), Work()
    left: list[float] = []

    async def look() -> int:
        left.append(remaining_s())
        return await work()

    async def hurried() -> None:
        async with deadline(0.02):
            await flights.do("a", look)

    first = asyncio.create_task(hurried())
    await settle()
    second = asyncio.create_task(flights.do("a", look))
    await asyncio.gather(first, return_exceptions=True)
    work.release.set()

    assert await second == 1
    assert left == [inf]
