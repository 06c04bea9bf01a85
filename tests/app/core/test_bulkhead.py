"""The bulkhead: bounds on calls, on waiting, on the wait."""

from __future__ import annotations

import asyncio

import pytest

from app.core.resilience.bulkhead import Bulkhead, BulkheadFullError


async def hold(bulkhead: Bulkhead, release: asyncio.Event) -> None:
    """Hold a slot until released."""
    async with bulkhead:
        await release.wait()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_maximum_run_at_once() -> None:
    """50 callers, 4 slots, 46 places to wait: never more than 4 inside, and all get through."""
    bulkhead = Bulkhead("test", 4, 46, max_wait_s=5.0)
    inside = peak = done = 0

    async def work() -> None:
        nonlocal inside, peak, done
        async with bulkhead:
            inside += 1
            peak = max(peak, inside)
            await asyncio.sleep(0)
            inside -= 1
            done += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(work())

    assert (peak, done) == (4, 50)
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


async def test_without_places_to_wait_a_full_house_refuses_at_once() -> None:
    """The error says how many are in flight, and comes without a wait."""
    bulkhead, release = Bulkhead("redis", 1), asyncio.Event()
    holder = asyncio.create_task(hold(bulkhead, release))
    await settle()
    with pytest.raises(BulkheadFullError, match="bulkhead redis is full: 1 calls are in flight"):
        async with bulkhead:
            pass
    release.set()
    await holder


async def test_the_wait_has_a_limit() -> None:
    """Who waits for longer than `max_wait_s` is refused and leaves no trace."""
    bulkhead, release = Bulkhead("test", 1, 1, max_wait_s=0.02), asyncio.Event()
    holder = asyncio.create_task(hold(bulkhead, release))
    await settle()
    with pytest.raises(BulkheadFullError):
        async with bulkhead:
            pass

    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)
    release.set()
    await holder
    assert bulkhead.in_flight == 0


async def test_first_come_first_served() -> None:
    """A slot that comes free goes to who waited longest, and a newcomer cannot take it."""
    bulkhead, order = Bulkhead("test", 1, 10, max_wait_s=5.0), list[int]()

    async def work(number: int) -> None:
        async with bulkhead:
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(work(number))

    assert order == list(range(8))


async def test_a_waiter_that_is_cancelled_leaves_the_queue() -> None:
    """Its place is free for another, and the next in the queue gets the slot."""
    bulkhead, release = Bulkhead("test", 1, 2, max_wait_s=5.0), asyncio.Event()
    release.set()
    async with bulkhead:
        waiting = [asyncio.create_task(hold(bulkhead, release)) for _ in range(2)]
        await settle()
        waiting[0].cancel()
        await settle()
        assert bulkhead.waiting == 1
    await waiting[1]

    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_waiter_that_is_cancelled_at_its_turn_loses_no_slot(*, cancel_first: bool) -> None:
    """Cancelled in the very moment in which the slot was handed to it, or just before: the slot goes on."""
    bulkhead, release = Bulkhead("test", 1, 2, max_wait_s=5.0), asyncio.Event()
    release.set()
    async with bulkhead:
        waiter = asyncio.create_task(hold(bulkhead, release))
        await settle()
        if cancel_first:
            waiter.cancel()
    waiter.cancel()  # it has not run since
    await asyncio.gather(waiter, return_exceptions=True)

    assert waiter.cancelled()
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)
    async with asyncio.timeout(1.0), bulkhead:
        assert bulkhead.in_flight == 1


def test_a_bulkhead_without_room_is_refused() -> None:
    """Zero slots would refuse everything forever."""
    with pytest.raises(ValueError, match="max_concurrent=0 must be at least 1"):
        Bulkhead("test", 0)
