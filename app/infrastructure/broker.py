"""The Redis that carries tasks. Its edge fails apart from the cache's, so it is watched apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from app.core.resilience.breaker import BreakerConfig
from app.core.resilience.guard import Guard, Reason, build_guard
from app.infrastructure.cache import classify_redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.metrics import Metrics

DEPENDENCY = "redis-broker"
TIMEOUT_S = 0.25
CALL_TIMEOUT_S = 0.6

# Calls are few, two a second at least, and nobody waits for them: three bad ones in a row are an outage.
BREAKER = BreakerConfig(
    window=5,
    minimum_calls=3,
    failure_rate=0.6,
    slow_call_s=1.0,
    slow_call_rate=1.0,
    open_s=1.0,
    half_open_calls=1,
)

classify_broker = classify_redis


def broker_guard(
    metrics: Metrics,
    *,
    timeout_s: float = CALL_TIMEOUT_S,
    classify: Callable[[Exception], Reason | None] = classify_broker,
) -> Guard:
    """Build the guard of the broker; `timeout_s` for a call."""
    return build_guard(
        DEPENDENCY,
        timeout_s=timeout_s,
        breaker=BREAKER,
        max_concurrent=2,
        max_waiting=2,
        max_wait_s=timeout_s,
        classify=classify,
        gauge=metrics,
    )


def broker_client(url: str) -> Redis:
    """Build a client of one connection, as impatient as those who ask the broker for signs of life."""
    return Redis.from_url(
        url,
        max_connections=1,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # One more try only for a kept connection that had been cut; a timeout is never repeated.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        health_check_interval=0,
        protocol=2,  # no HELLO, no SETINFO: a connection is made in one round trip
        driver_info=None,
    )


class Broker:
    """One connection, for signs of life."""

    def __init__(self, url: str) -> None:
        """Connect at the first ping."""
        self._redis = broker_client(url)

    async def ping(self) -> None:
        """Return when the broker answered, raise what went wrong otherwise."""
        await self._redis.ping()

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
