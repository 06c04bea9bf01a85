"""One deadline for everything that a request calls."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from app.core.errors import DeadlineExceededError
from app.core.resilience.deadline import deadline, remaining_s


async def test_the_body_ends_at_the_deadline() -> None:
    """A body that hangs is ended with a 504 that says how long it had."""
    with pytest.raises(DeadlineExceededError, match=r"within 0\.02 s") as over:
        async with deadline(0.02):
            await asyncio.Event().wait()

    assert over.value.status == 504


async def test_time_left_shrinks_and_is_unbounded_outside() -> None:
    """Inside there is at most what was given; outside there is no bound."""
    assert remaining_s() == inf
    async with deadline(5.0):
        assert 4.5 < remaining_s() <= 5.0
    assert remaining_s() == inf


async def test_an_inner_deadline_can_only_shorten() -> None:
    """Code deep inside cannot give itself more time than the request has."""
    async with deadline(1.0):
        async with deadline(60.0):
            assert remaining_s() <= 1.0
        async with deadline(0.1):
            assert remaining_s() <= 0.1
        assert remaining_s() > 0.1


async def test_tasks_inherit_it() -> None:
    """What a request starts in parallel has the same time left."""

    async def look() -> float:
        return remaining_s()

    async with deadline(1.0):
        assert await asyncio.create_task(look()) <= 1.0


async def test_a_timeout_of_the_body_stays_its_own() -> None:
    """A TimeoutError that the body raised is not taken for the deadline's."""
    with pytest.raises(TimeoutError, match="of the body"):
        async with deadline(5.0):
            raise TimeoutError("of the body")


async def test_cancellation_from_outside_stays_cancellation() -> None:
    """A request whose client left is cancelled, not answered with 504."""

    async def request() -> None:
        async with deadline(5.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_time_left_is_zero_not_negative() -> None:
    """After the end there is nothing left to give to a call."""
    left: list[float] = []

    async def late() -> None:
        async with deadline(-1.0):
            left.append(remaining_s())
            await asyncio.Event().wait()

    with pytest.raises(DeadlineExceededError):
        await late()
    assert left == [0.0]


async def test_extended() -> None:
    """A deadline that is extended lets its body go on, and says how much is left."""
    async with deadline(0.02) as limit:
        limit.extend(5.0)
        await asyncio.sleep(0.04)
        assert 4.0 < remaining_s() <= 5.0

    assert remaining_s() == inf


async def test_extended_too_late() -> None:
    """Once its time is over, a deadline stays over."""

    async def late() -> None:
        async with deadline(0.01) as limit:
            try:
                await asyncio.sleep(5)
            finally:
                limit.extend(5.0)

    with pytest.raises(DeadlineExceededError):
        await late()


async def test_it_can_be_extended_until_it_is_over() -> None:
    """An answer that has begun gets more time, as often as it moves; what is over stays over."""
    async with deadline(0.05) as limit:
        for _ in range(4):
            limit.extend(0.05)
            await asyncio.sleep(0.02)
        limit.extend(5.0)
        assert remaining_s() > 4.0

    async def too_late() -> None:
        async with deadline(0.01) as limit:
            try:
                await asyncio.Event().wait()
            finally:
                limit.extend(5.0)

    with pytest.raises(DeadlineExceededError, match=r"within 0\.01 s"):
        await too_late()
