"""The request's context: who may mark it, and who sees the mark."""

from __future__ import annotations

import asyncio

from app.core.context import RequestContext, current, mark_degraded


def test_outside_a_request_a_mark_is_harmless() -> None:
    """One-shots and background work may use the same code."""
    mark_degraded("cache")

    assert current.get() is None


async def test_marks_made_in_tasks_of_the_request_count() -> None:
    """A task that the request started marks the same request."""
    context = RequestContext("req-1", "trace")
    token = current.set(context)
    try:
        await asyncio.gather(
            *(
                asyncio.create_task(asyncio.to_thread(mark_degraded, f))
                for f in ("cache", "storage")
            )
        )
    finally:
        current.reset(token)

    assert context.degraded == {"cache", "storage"}


async def test_requests_do_not_see_each_other() -> None:
    """Each request that runs at the same time has its own marks."""

    async def request(name: str) -> set[str]:
        context = RequestContext(name, "trace")
        current.set(context)
        await asyncio.sleep(0)
        mark_degraded(name)
        await asyncio.sleep(0)
        return context.degraded

    first, second = await asyncio.gather(request("a"), request("b"))
    assert (first, second) == ({"a"}, {"b"})
