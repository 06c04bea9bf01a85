"""The cache against a real Valkey that is well, refused, frozen, cut: the same answers, and never an error."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from app.core.context import RequestContext, current
from app.core.errors import NotFoundError
from app.core.resilience.breaker import BreakerState
from app.infrastructure.cache import (
    BREAKER,
    CALL_TIMEOUT_S,
    LINGER_S,
    SOCKET_TIMEOUT_S,
    Cache,
    cache_guard,
)
from tests.app.conftest import state_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from app.core.metrics import Metrics
    from app.core.resilience.guard import Guard
    from tests.app.servers import Server

pytestmark = pytest.mark.live

RATE_RPS = 200


class Source:
    """What the cache stands in front of; counts how often it was asked."""

    def __init__(self) -> None:
        self.loads = 0

    def of(self, key: str) -> Callable[[], Awaitable[bytes]]:
        """Return the loader of `key`."""

        async def load() -> bytes:
            self.loads += 1
            await asyncio.sleep(0.001)
            return f"value of {key}".encode()

        return load


@asynccontextmanager
async def cache_on(
    server: Server, metrics: Metrics, *, enabled: bool = True
) -> AsyncIterator[tuple[Cache, Guard]]:
    """Build a cache on `server`, with its guard."""
    guard = cache_guard(metrics)
    cache = Cache(f"redis://{server.address}/0", guard, metrics, enabled=enabled)
    try:
        yield cache, guard
    finally:
        await cache.close()


@asynccontextmanager
async def direct(server: Server) -> AsyncIterator[Any]:
    """Look into the server beside the cache."""
    client = Redis.from_url(f"redis://{server.address}/0")
    try:
        yield client
    finally:
        await client.aclose()


async def timed(call: Awaitable[bytes]) -> tuple[bytes, float]:
    """Return the answer and how long it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answer = await call
    return answer, loop.time() - begun


async def drive(cache: Cache, source: Source, *, for_s: float, keys: int = 100) -> list[float]:
    """Ask at RATE_RPS without waiting for answers; check each answer and return what each took."""
    loop = asyncio.get_running_loop()
    begun, tasks = loop.time(), list[tuple[str, asyncio.Task[tuple[bytes, float]]]]()
    for number in range(int(for_s * RATE_RPS)):
        await asyncio.sleep(max(0.0, begun + number / RATE_RPS - loop.time()))
        key = f"video:{number % keys}"
        call = timed(cache.get_or_load(key, 30.0, source.of(key)))
        tasks.append((key, asyncio.create_task(call)))
    times = []
    for key, task in tasks:
        answer, took_s = await task
        assert answer == f"value of {key}".encode()
        times.append(took_s)
    return times


async def test_a_value_is_loaded_once_and_then_found(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """A miss loads and stores; the next read is a hit, and neither is degraded."""
    source, context = Source(), RequestContext("req-1", "trace")
    current.set(context)
    async with cache_on(valkey, metrics) as (cache, _):
        for _ in range(3):
            assert await cache.get_or_load("a", 30.0, source.of("a")) == b"value of a"

    assert source.loads == 1
    assert sample("cache_operations_total", operation="get", result="miss") == 1
    assert sample("cache_operations_total", operation="get", result="hit") == 2
    assert sample("cache_operations_total", operation="set", result="ok") == 1
    assert context.degraded == set()


async def test_callers_that_miss_together_load_once(valkey: Server, metrics: Metrics) -> None:
    """A popular key that expires costs one query, not one for each who asks at that moment."""
    source = Source()
    async with cache_on(valkey, metrics) as (cache, _):
        answers = await asyncio.gather(
            *(cache.get_or_load("a", 30.0, source.of("a")) for _ in range(30))
        )

    assert set(answers) == {b"value of a"}
    assert source.loads == 1


async def test_an_empty_value_is_a_hit(valkey: Server, metrics: Metrics) -> None:
    """Nothing stored and an empty value stored are not the same."""
    loads = 0

    async def nothing() -> bytes:
        nonlocal loads
        loads += 1
        return b""

    async with cache_on(valkey, metrics) as (cache, _):
        assert await cache.get_or_load("a", 30.0, nothing) == b""
        assert await cache.get_or_load("a", 30.0, nothing) == b""

    assert loads == 1


async def test_times_to_live_are_spread(valkey: Server, metrics: Metrics) -> None:
    """Keys that were stored together do not expire together, and none lives for much more than asked."""
    source = Source()
    async with cache_on(valkey, metrics) as (cache, _), direct(valkey) as redis:
        for number in range(50):
            await cache.get_or_load(str(number), 100.0, source.of("a"))
        left_ms = [await redis.pttl(str(number)) for number in range(50)]

    assert min(left_ms) > 85_000
    assert max(left_ms) <= 110_000
    assert max(left_ms) - min(left_ms) > 5_000


async def test_the_loaders_error_is_raised_and_not_stored(valkey: Server, metrics: Metrics) -> None:
    """Not found stays not found, and is no trouble of the cache."""

    async def missing() -> bytes:
        raise NotFoundError("there is no video 1")

    async with cache_on(valkey, metrics) as (cache, guard):
        for _ in range(BREAKER.window):
            with pytest.raises(NotFoundError):
                await cache.get_or_load("a", 30.0, missing)
        assert state_of(guard.breaker) is BreakerState.CLOSED
        assert await cache.get_or_load("a", 30.0, Source().of("a")) == b"value of a"


async def test_a_deleted_key_is_loaded_anew(valkey: Server, metrics: Metrics) -> None:
    """After delete nobody gets what was there before."""
    source = Source()
    async with cache_on(valkey, metrics) as (cache, _):
        await cache.get_or_load("a", 30.0, source.of("a"))
        await cache.delete("a")
        await cache.get_or_load("a", 30.0, source.of("a"))

    assert source.loads == 2


async def test_refused_from_the_first_call_on(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """A dead server costs no error and no time: the first calls too are answered, as degraded."""
    valkey.kill()
    source, context = Source(), RequestContext("req-1", "trace")
    current.set(context)
    async with cache_on(valkey, metrics) as (cache, guard):
        times = await drive(cache, source, for_s=0.5)
        await cache.delete("video:1")

        assert state_of(guard.breaker) is BreakerState.OPEN
    assert max(times) < 0.25
    assert context.degraded == {"cache"}
    assert sample("app_fallback_total", dependency="redis-cache", reason="refused") >= 10
    assert sample("app_fallback_total", dependency="redis-cache", reason="breaker_open") > 50
    assert sample("cache_operations_total", operation="get", result="error") == 100


async def test_frozen_opens_the_breaker_within_a_second(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """A server that accepts and is silent: every answer right, the breaker open in time, then nobody waits."""
    source = Source()
    async with cache_on(valkey, metrics) as (cache, guard):
        await drive(cache, source, for_s=0.5)
        valkey.stop()
        loop = asyncio.get_running_loop()
        frozen_at = loop.time()
        driving = asyncio.create_task(drive(cache, source, for_s=2.5))
        await until(lambda: state_of(guard.breaker) is BreakerState.OPEN)
        opened_after_s = loop.time() - frozen_at
        times = await driving

    assert opened_after_s < 1.0
    assert max(times) < CALL_TIMEOUT_S + 0.2
    # Nobody waits for a probe: what began after the breaker opened never takes as long as a stuck call.
    assert max(times[int((opened_after_s + 0.1) * RATE_RPS) :]) < SOCKET_TIMEOUT_S
    assert sample("app_fallback_total", dependency="redis-cache", reason="timeout") >= 10


@pytest.mark.parametrize("how", ["frozen", "dead"])
async def test_it_comes_back_by_itself(
    valkey: Server, metrics: Metrics, sample: Callable[..., float], how: str
) -> None:
    """Once the server answers again the breaker closes under traffic and reads are hits."""
    source = Source()
    async with cache_on(valkey, metrics) as (cache, guard):
        if how == "frozen":
            valkey.stop()
        else:
            valkey.kill()
        await drive(cache, source, for_s=1.0)
        assert state_of(guard.breaker) is not BreakerState.CLOSED
        if how == "frozen":
            valkey.resume()
        else:
            valkey.start()
        driving = asyncio.create_task(drive(cache, source, for_s=BREAKER.open_s + 1.0))
        await until(
            lambda: state_of(guard.breaker) is BreakerState.CLOSED, within_s=BREAKER.open_s + 0.9
        )
        await driving

    assert sample("cache_operations_total", operation="get", result="hit") > 0


async def test_without_the_cache_a_hot_key_costs_few_loads(
    valkey: Server, metrics: Metrics
) -> None:
    """While the server is away a key is loaded about once per linger, however often it is read."""
    valkey.kill()
    source = Source()
    async with cache_on(valkey, metrics) as (cache, _):
        await drive(cache, source, for_s=1.5, keys=1)

    assert source.loads <= 1.5 / LINGER_S + 1


async def test_a_cut_connection_is_no_outage(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """Pooled connections that the server closed are replaced without anyone noticing."""
    source = Source()
    async with cache_on(valkey, metrics) as (cache, _), direct(valkey) as redis:
        await asyncio.gather(*(cache.get_or_load(str(n), 30.0, source.of("a")) for n in range(8)))
        await redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
        for number in range(8):
            await cache.get_or_load(str(number), 30.0, source.of("a"))

    assert sample("cache_operations_total", operation="get", result="error") == 0
    assert sample("cache_operations_total", operation="get", result="hit") == 8


async def test_a_failing_store_does_not_fail_the_answer(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """The server dies between the read and the write: the caller has its value all the same."""

    async def load_and_kill() -> bytes:
        await asyncio.to_thread(valkey.kill)
        return b"value"

    async with cache_on(valkey, metrics) as (cache, _):
        assert await cache.get_or_load("a", 30.0, load_and_kill) == b"value"

    assert sample("cache_operations_total", operation="set", result="error") == 1


async def test_an_error_reply_is_a_fallback_too(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """A server that answers with an error, here for a key of another type, is as good as away."""
    async with cache_on(valkey, metrics) as (cache, _), direct(valkey) as redis:
        await redis.lpush("a", "1")
        assert await cache.get_or_load("a", 30.0, Source().of("a")) == b"value of a"

    assert sample("app_fallback_total", dependency="redis-cache", reason="error") == 1


async def test_switched_off_it_is_never_asked(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """The flag leads straight to the loader; that is counted, and the answer says that it is degraded."""
    context = RequestContext("req-1", "trace")
    current.set(context)
    source = Source()
    async with cache_on(valkey, metrics, enabled=False) as (cache, _), direct(valkey) as redis:
        for _ in range(2):
            assert await cache.get_or_load("a", 30.0, source.of("a")) == b"value of a"
        await cache.delete("a")
        assert await redis.dbsize() == 0

    assert source.loads == 2
    assert sample("cache_operations_total", operation="get", result="disabled") == 2
    assert context.degraded == {"cache"}


async def test_more_callers_than_the_bulkhead_holds_are_all_answered(
    valkey: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """500 at once on a frozen server: some find no room, none fails, none waits beyond the timeout."""
    valkey.stop()
    source = Source()
    async with cache_on(valkey, metrics) as (cache, _):
        results = await asyncio.gather(
            *(timed(cache.get_or_load(str(n), 30.0, source.of(str(n)))) for n in range(500))
        )

    assert [answer for answer, _ in results] == [f"value of {n}".encode() for n in range(500)]
    assert max(took_s for _, took_s in results) < CALL_TIMEOUT_S + 0.3
    assert sample("app_fallback_total", dependency="redis-cache", reason="bulkhead_full") > 400


async def test_ping_tells_the_truth_within_its_limit(valkey: Server, metrics: Metrics) -> None:
    """Well: silent. Frozen: an error within the socket's limit, however the breaker stands."""
    async with cache_on(valkey, metrics) as (cache, _):
        await cache.ping()
        valkey.stop()
        async with asyncio.timeout(1.0):
            with pytest.raises(Exception, match="Timeout"):
                await cache.ping()
        valkey.resume()
        await cache.ping()
