"""Counted attempts in a real Valkey: the same decisions as in the process, in one round trip, gone by themselves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from app.core.metrics import Metrics
from app.core.resilience.guard import DependencyUnavailableError, Guard, Reason
from app.core.resilience.rate_limit import MICROSECONDS, Decision, Limit, LocalLimiter
from app.infrastructure.attempt_store import ATTEMPTS, STEP_TTL_S, AttemptStore, Question
from app.infrastructure.cache import CALL_TIMEOUT_S, cache_guard
from tests.app.conftest import until
from tests.app.servers import valkey_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.app.servers import Server

pytestmark = pytest.mark.live

LIMIT = Limit("test", 5, 10.0)
LONG = Limit("long", 600, 3600.0)
USER = UUID(int=7)


class Clock:
    """Time of day that moves only when told to, in whole microseconds."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000 * MICROSECONDS

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_us / MICROSECONDS


@asynccontextmanager
async def store_on(
    server: Server, metrics: Metrics, clock: Callable[[], float] | None = None
) -> AsyncIterator[tuple[AttemptStore, Guard]]:
    """Build a store on `server`, with its guard."""
    guard = cache_guard(metrics)
    store = AttemptStore(f"redis://{server.address}/0", guard, clock)
    try:
        yield store, guard
    finally:
        await store.close()


@asynccontextmanager
async def direct(server: Server) -> AsyncIterator[Any]:
    """Look into the server beside the store."""
    client = Redis.from_url(f"redis://{server.address}/0")
    try:
        yield client
    finally:
        await client.aclose()


async def calls_of(client: Any) -> dict[str, int]:
    """Return how often each command was called."""
    stats = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): values["calls"] for name, values in stats.items()}


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["hit", "hit", "hit", "peek", "forget"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 12_000_000) | st.sampled_from([0, 0, 1, 10_000_000, -3_000_000]),
    ),
    max_size=40,
)


def test_both_limiters_decide_alike() -> None:
    """The same hits at the same times get the same answers, to the microsecond, also when the clock goes back."""

    async def compare(server: Server, operations: list[tuple[str, str, int]], limit: Limit) -> None:
        clock = Clock()
        local = LocalLimiter(10, clock)
        async with store_on(server, Metrics(CollectorRegistry()), clock) as (store, _):
            for key in ("a", "b"):
                await store.forget(key)
            for operation, key, step_us in operations:
                clock.now_us += step_us
                if operation == "forget":
                    local.forget(key)
                    await store.forget(key)
                elif operation == "peek":
                    assert await store.peek(key, limit) == local.peek(key, limit)
                else:
                    assert await store.hit(key, limit) == local.hit(key, limit)

    with valkey_server() as server:

        @given(OPERATIONS, st.sampled_from([LIMIT, Limit("one", 1, 10.0), Limit("odd", 7, 0.3)]))
        @hypothesis_settings(max_examples=60, deadline=None)
        def agree(operations: list[tuple[str, str, int]], limit: Limit) -> None:
            asyncio.run(compare(server, operations, limit))

        agree()


async def test_a_long_limit_is_exact_too(valkey: Server, metrics: Metrics) -> None:
    """600 hits an hour: the largest numbers that occur lose nothing on their way through the script."""
    clock = Clock()
    local = LocalLimiter(1, clock)
    async with store_on(valkey, metrics, clock) as (store, _):
        for number in range(1300):
            clock.now_us += 4_999_999 + number % 3
            assert await store.hit("a", LONG) == local.hit("a", LONG)


async def test_hits_of_all_processes_count_together(valkey: Server, metrics: Metrics) -> None:
    """30 hits at once through two stores: exactly five are allowed."""
    other_metrics = Metrics(CollectorRegistry())
    async with (
        store_on(valkey, metrics) as (one, _),
        store_on(valkey, other_metrics) as (other, _),
    ):
        decisions = await asyncio.gather(
            *(store.hit("a", LIMIT) for _ in range(15) for store in (one, other))
        )

    assert sum(decision.allowed for decision in decisions) == 5


async def test_without_a_clock_the_time_is_that_of_the_server(
    valkey: Server, metrics: Metrics
) -> None:
    """The window is that of Redis's own clock, and time passes."""
    limit = Limit("short", 1, 0.2)
    async with store_on(valkey, metrics) as (store, _), direct(valkey) as redis:
        assert (await store.hit("a", limit)).allowed
        begun_s = (await redis.time())[0]
        index = int(await redis.hget(f"{ATTEMPTS}a", "i"))
        assert begun_s - 5 < index * limit.period_s <= begun_s + 1
        refused = await store.peek("a", limit)
        async with asyncio.timeout(5.0):
            while not refused.allowed:
                await asyncio.sleep(refused.retry_after_s)
                refused = await store.peek("a", limit)


async def test_many_questions_are_one_round_trip(valkey: Server, metrics: Metrics) -> None:
    """Each is answered by itself, at one moment, by one command."""
    questions = [
        Question("a", LIMIT, hit=True),
        Question("b", Limit("one", 1, 10.0), hit=True),
        Question("c", LONG),
    ]
    async with store_on(valkey, metrics, Clock()) as (store, _), direct(valkey) as redis:
        first = await store.decide(questions)
        await redis.config_resetstat()
        second = await store.decide(questions)
        calls = await calls_of(redis)

    assert [d.allowed for d in first] == [True, True, True]
    assert [d.allowed for d in second] == [True, False, True]
    assert calls["evalsha"] == 1
    assert not {"eval", "script|load"} & set(calls)


async def test_a_server_that_lost_its_scripts_is_taught_again(
    valkey: Server, metrics: Metrics
) -> None:
    """After a restart or a flush the next call works, without an error to anybody."""
    async with store_on(valkey, metrics) as (store, guard), direct(valkey) as redis:
        await store.hit("a", LIMIT)
        await redis.script_flush()
        assert (await store.hit("a", LIMIT)).allowed

    assert guard.breaker.state == "closed"


async def test_asking_writes_nothing(valkey: Server, metrics: Metrics) -> None:
    """Names that somebody made up take no memory."""
    async with store_on(valkey, metrics) as (store, _), direct(valkey) as redis:
        assert await store.peek("a", LIMIT) == Decision(allowed=True, retry_after_s=0.0)
        assert not await store.seen_step(USER, 1)
        assert await redis.dbsize() == 0


async def test_every_key_goes_by_itself(valkey: Server, metrics: Metrics) -> None:
    """A count lives for as long as it counts, at most two periods; a step for as long as its code is good."""
    async with store_on(valkey, metrics) as (store, _), direct(valkey) as redis:
        await store.hit("a", LIMIT)
        await store.remember_step(USER, 1)
        lives_ms = {key: await redis.pttl(key) for key in await redis.keys()}
        short = Limit("short", 1, 0.02)
        await store.hit("short", short)
        async with asyncio.timeout(5.0):
            while await redis.exists(f"{ATTEMPTS}short"):  # noqa: ASYNC110 - servers set no event
                await asyncio.sleep(0.005)

    counted_ms = lives_ms.pop(f"{ATTEMPTS}a".encode())
    assert LIMIT.period_s * 1000 - 1000 < counted_ms <= 2 * LIMIT.period_s * 1000
    (step_ms,) = lives_ms.values()
    assert 90_000 < step_ms <= STEP_TTL_S * 1000


async def test_a_used_step_is_remembered_for_its_user_alone(
    valkey: Server, metrics: Metrics
) -> None:
    """The same step of another user, and another step of the same one, are unused."""
    async with store_on(valkey, metrics) as (store, _):
        await store.remember_step(USER, 100)

        assert await store.seen_step(USER, 100)
        assert not await store.seen_step(USER, 101)
        assert not await store.seen_step(UUID(int=8), 100)


async def test_a_server_that_is_gone_or_hangs_is_unavailable_soon(
    valkey: Server, metrics: Metrics
) -> None:
    """Every method says so within its limit, through the guard that the cache shares; later it works again."""
    async with store_on(valkey, metrics) as (store, guard):
        await store.hit("a", LIMIT)
        valkey.stop()
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(DependencyUnavailableError) as hung:
            await store.hit("a", LIMIT)
        took_s = asyncio.get_running_loop().time() - begun_s
        valkey.kill()
        for call in (
            store.peek("a", LIMIT),
            store.forget("a"),
            store.seen_step(USER, 1),
            store.remember_step(USER, 1),
        ):
            with pytest.raises(DependencyUnavailableError):
                await call
        while guard.breaker.state == "closed":
            with pytest.raises(DependencyUnavailableError):
                await store.peek("a", LIMIT)
        with pytest.raises(DependencyUnavailableError) as refused:
            await store.peek("a", LIMIT)
        valkey.start()

        async def answers() -> bool:
            try:
                return (await store.peek("a", LIMIT)).allowed
            except DependencyUnavailableError:
                return False

        async with asyncio.timeout(10.0):
            while not await answers():  # noqa: ASYNC110 - servers set no event
                await asyncio.sleep(0.02)
        await until(lambda: guard.breaker.state == "closed")

    assert hung.value.reason is Reason.TIMEOUT
    assert took_s < 10 * CALL_TIMEOUT_S
    assert refused.value.reason is Reason.BREAKER_OPEN
