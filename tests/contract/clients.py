"""How the contract tests talk to the parts: raw sockets and the Redis client, each with a limit."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chaos.runtime.base import Stack

LIMIT_S = 5.0
POLL_S = 0.01


@asynccontextmanager
async def redis_at(stack: Stack, component: str = "redis") -> AsyncIterator[Redis]:
    """Connect to Redis directly, or through an edge."""
    host, port = stack.address(component, 6379)
    client = Redis(
        host=host,
        port=port,
        socket_timeout=LIMIT_S,
        socket_connect_timeout=LIMIT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        yield client
    finally:
        await client.aclose()


def refuses(address: tuple[str, int]) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        probe.settimeout(LIMIT_S)
        return probe.connect_ex(address) != 0


async def until(condition: Callable[[], bool], what: str, *, within_s: float = LIMIT_S) -> None:
    """Wait for a condition, and fail with `what` when it does not come."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - there is no event for what others do
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None
