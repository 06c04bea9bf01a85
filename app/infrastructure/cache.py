"""The Redis cache: reads that survive without it.

`Cache.get_or_load` is the one place where the fallback of `redis-cache` is chosen: the loader, that is the database,
with one load per key at a time and its result shared for a moment. No trouble of the cache ever reaches a caller.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.core.context import mark_degraded
from app.core.resilience.breaker import BreakerConfig
from app.core.resilience.guard import (
    DependencyUnavailableError,
    Guard,
    Reason,
    build_guard,
    causes,
    classify,
)
from app.core.resilience.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.core.metrics import Metrics

DEPENDENCY = "redis-cache"
FEATURE = "cache"

# Redis answers in well under 1 ms, but a busy machine may stop everybody for 0.2 s; that is no outage of Redis.
SOCKET_TIMEOUT_S = 0.35
# A little above, so that redis-py ends a stuck call itself and closes its socket; this bounds what it repeats.
CALL_TIMEOUT_S = 0.4
MAX_CONCURRENT = 32

# While Redis is away: a result serves for this long, so that a hot key costs one query a period, not one a request.
LINGER_S = 1.0
MAX_LINGERING = 2048
TTL_JITTER = 0.1

BREAKER = BreakerConfig(
    # At 200 calls/s a hang fills half of this window within 0.5 s of the first stuck call.
    window=30,
    minimum_calls=10,
    failure_rate=0.5,
    slow_call_s=0.3,
    slow_call_rate=0.8,
    open_s=1.0,
    half_open_calls=3,
)


def classify_redis(error: Exception) -> Reason | None:
    """Name why Redis failed; every error of its client counts, since none is the caller's own."""
    reason = classify(error)
    if reason is not None and reason is not Reason.ERROR:
        return reason
    for link in causes(error):
        if isinstance(link, RedisTimeoutError):
            return Reason.TIMEOUT
        if isinstance(link, RedisConnectionError):
            return Reason.RESET
    return Reason.ERROR if isinstance(error, RedisError) else reason


def cache_guard(metrics: Metrics) -> Guard:
    """Build the guard of the cache: small, impatient, quick to open."""
    return build_guard(
        DEPENDENCY,
        timeout_s=CALL_TIMEOUT_S,
        breaker=BREAKER,
        max_concurrent=MAX_CONCURRENT,
        classify=classify_redis,
        gauge=metrics,
    )


def redis_client(redis_url: str, *, max_connections: int) -> Redis:
    """Build a client that is as impatient as this dependency's callers."""
    return Redis.from_url(
        redis_url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        # One more try only for a pooled connection that had been cut; a timeout is never repeated.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        health_check_interval=0,
        max_connections=max_connections,
        protocol=2,  # no HELLO, no SETINFO: a connection is made in one round trip
        driver_info=None,
    )


class Cache:
    """Bytes by key, each with a time to live."""

    def __init__(self, redis_url: str, guard: Guard, metrics: Metrics, *, enabled: bool) -> None:
        self._guard = guard
        self._enabled = enabled
        # The bulkhead bounds the calls, so the pool never has to say no.
        self._redis = redis_client(redis_url, max_connections=2 * guard.bulkhead.max_concurrent)
        self._ping_redis = redis_client(redis_url, max_connections=1)
        self._loads: SingleFlight[bytes] = SingleFlight()
        self._fallback_loads: SingleFlight[bytes] = SingleFlight(
            linger_s=LINGER_S, max_lingering=MAX_LINGERING
        )
        self._operations = metrics.cache_operations_total
        self._fallbacks = metrics.app_fallback_total
        self._hit = self._operations.labels("get", "hit")
        self._miss = self._operations.labels("get", "miss")

    async def get_or_load(
        self, key: str, ttl_s: float, loader: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """Return what is stored under `key`, else what `loader` gives, which is then stored for `ttl_s`.

        Only the loader's own errors are raised. The answer is marked as degraded when the cache could not be asked.
        """
        if not self._enabled:
            self._operations.labels("get", "disabled").inc()
            mark_degraded(FEATURE)
            return await self._loads.do(key, loader)
        try:
            value = await self._guard.call(partial(self._get, key), probe_beside=True)
        except DependencyUnavailableError as unavailable:
            self._operations.labels("get", "error").inc()
            self._fallbacks.labels(DEPENDENCY, unavailable.reason).inc()
            mark_degraded(FEATURE)
            return await self._fallback_loads.do(key, loader)
        if value is not None:
            self._hit.inc()
            return value
        self._miss.inc()
        return await self._loads.do(key, partial(self._load_and_store, key, ttl_s, loader))

    async def delete(self, *keys: str) -> None:
        """Forget `keys`. While Redis is away their copies there live on until their time is over."""
        for key in keys:
            self._loads.forget(key)
            self._fallback_loads.forget(key)
        if not self._enabled:
            self._operations.labels("delete", "disabled").inc()
            return
        await self._attempt("delete", partial(self._redis.delete, *keys))

    async def ping(self) -> None:
        """Ask Redis for a sign of life on a connection of its own, outside the guard; raise what went wrong."""
        await self._ping_redis.ping()

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
        await self._ping_redis.aclose()

    async def _get(self, key: str) -> bytes | None:
        return cast("bytes | None", await self._redis.get(key))

    async def _load_and_store(
        self, key: str, ttl_s: float, loader: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        value = await loader()
        # Jitter: keys that were stored together must not expire together.
        spread_s = ttl_s * random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER)  # noqa: S311 - no secret
        store = partial(self._redis.set, key, value, px=max(1, int(spread_s * 1000)))
        await self._attempt("set", store)
        return value

    async def _attempt(self, operation: str, fn: Callable[[], Awaitable[object]]) -> None:
        """Do what the answer does not depend on; a failure is counted and the breaker knows."""
        try:
            await self._guard.call(fn)
        except DependencyUnavailableError:
            self._operations.labels(operation, "error").inc()
        else:
            self._operations.labels(operation, "ok").inc()
