"""The S3 store, well, refused, frozen, dripping: bounded in time and in threads."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from app.core.resilience.breaker import BreakerState
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.infrastructure.object_store import (
    BREAKER,
    CALL_TIMEOUT_S,
    MAX_CONCURRENT,
    MAX_OBJECT_BYTES,
    MAX_THREADS,
    ObjectMissingError,
    ObjectStore,
    object_store_guard,
)
from tests.app.conftest import state_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.core.resilience.guard import Guard
    from tests.app.servers import Server

pytestmark = pytest.mark.live


@asynccontextmanager
async def store_on(
    endpoint: str, settings: Settings, metrics: Metrics, **changes: object
) -> AsyncIterator[tuple[ObjectStore, Guard]]:
    """Build a store on `endpoint`, with its guard."""
    guard = object_store_guard(metrics)
    store = ObjectStore(settings.model_copy(update={"s3_endpoint": endpoint, **changes}), guard)
    try:
        yield store, guard
    finally:
        await store.close()


async def failure(call: Awaitable[object]) -> tuple[Reason, float]:
    """Await a call that must fail; return why and after how long."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(DependencyUnavailableError) as failed:
        await call
    return failed.value.reason, loop.time() - begun


async def until_back(store: ObjectStore, *, within_s: float = 5.0) -> float:
    """Ask again and again until the object is there; return how long it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(within_s):
        while True:
            with suppress(DependencyUnavailableError):
                assert (await store.get("a")).data == b"image"
                return loop.time() - begun
            await asyncio.sleep(0.02)


async def test_what_was_put_is_got(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Bytes and content type come back, with the etag; the bucket may be made twice."""
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        await store.ensure_bucket()
        await store.put("thumbnails/1.png", b"image", "image/png")
        found = await store.get("thumbnails/1.png")

        assert (found.data, found.content_type) == (b"image", "image/png")
        assert found.etag
        assert await store.exists("thumbnails/1.png")


async def test_a_missing_object_is_an_answer(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Missing is told apart from trouble, and does not open the breaker however often it is asked for."""
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        for _ in range(BREAKER.window):
            with pytest.raises(ObjectMissingError, match=r"no object 'thumbnails/2\.png'"):
                await store.get("thumbnails/2.png")
        assert not await store.exists("thumbnails/2.png")
        assert state_of(guard.breaker) is BreakerState.CLOSED


@pytest.mark.parametrize("changes", [{"s3_secret_key": SecretStr("wrong")}, {"s3_bucket": "none"}])
async def test_a_store_that_refuses_us_is_unavailable(
    object_store_process: Server, settings: Settings, metrics: Metrics, changes: dict[str, object]
) -> None:
    """A wrong key or no bucket is no missing object: nobody may think that the data is gone."""
    address = object_store_process.address
    async with store_on(address, settings, metrics, **changes) as (store, _):
        assert (await failure(store.get("a")))[0] is Reason.ERROR
        with pytest.raises(Exception, match=r"AccessDenied|Signature|none"):
            await store.ping()


async def test_refused_fails_at_once_and_comes_back(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """A dead server: each call fails in milliseconds, the breaker opens; after its start reads work again."""
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        await store.put("a", b"image", "image/png")
        object_store_process.kill()
        failures = [await failure(store.get("a")) for _ in range(BREAKER.window)]
        reasons = {reason for reason, _ in failures}

        assert reasons <= {Reason.REFUSED, Reason.RESET, Reason.BREAKER_OPEN}
        assert Reason.REFUSED in reasons
        assert max(took_s for _, took_s in failures) < 0.25
        assert state_of(guard.breaker) is BreakerState.OPEN
        await asyncio.to_thread(object_store_process.start)
        assert await until_back(store) < BREAKER.open_s + 0.5
        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_frozen_ends_every_call_in_time_and_frees_its_threads(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """A hung server: no call beyond its limit, no thread lost, the breaker opens, and then nobody waits."""
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        await store.put("a", b"image", "image/png")
        object_store_process.stop()
        failures = await asyncio.gather(*(failure(store.get("a")) for _ in range(40)))
        while state_of(guard.breaker) is BreakerState.CLOSED:
            failures += await asyncio.gather(*(failure(store.get("a")) for _ in range(4)))

        assert max(took_s for _, took_s in failures) < CALL_TIMEOUT_S + 0.3
        assert {Reason.TIMEOUT, Reason.BULKHEAD_FULL} <= {reason for reason, _ in failures}
        assert (await failure(store.get("a")))[1] < 0.05
        await until(lambda: store._calls.busy == 0, within_s=2.0)
        object_store_process.resume()
        assert await until_back(store) < BREAKER.open_s + 0.5


async def test_callers_that_leave_do_not_use_up_the_threads(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Cancelled calls leave their threads stuck: these are counted, and calls beyond them are refused at once."""
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        object_store_process.stop()
        while store._calls.busy < MAX_THREADS:
            calls = [asyncio.create_task(store.get("a")) for _ in range(MAX_CONCURRENT)]
            await until(lambda: guard.bulkhead.in_flight == 0 or store._calls.busy > 0)
            await asyncio.sleep(0.005)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        reason, took_s = await failure(store.get("a"))

        assert reason is Reason.BULKHEAD_FULL
        assert took_s < 0.05
        await until(lambda: store._calls.busy == 0, within_s=2.0)


async def test_a_store_that_drips_is_cut_off(settings: Settings, metrics: Metrics) -> None:
    """A byte now and then keeps every socket limit; the limit in total ends it, for caller and thread."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            while True:
                writer.write(b"x" * 70_000)
                await writer.drain()
                await asyncio.sleep(0.1)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with store_on(f"127.0.0.1:{port}", settings, metrics) as (store, _):
        reason, took_s = await failure(store.get("a"))
        assert reason is Reason.TIMEOUT
        assert took_s < CALL_TIMEOUT_S + 0.2
        await until(lambda: store._calls.busy == 0, within_s=2.0)
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5.0)


async def test_an_object_that_is_too_large_is_refused(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Memory is bounded by us, not by what lies in the store; the store is not to blame."""
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        await store.put("large", bytes(MAX_OBJECT_BYTES + 1), "video/mp4")
        with pytest.raises(ValueError, match=f"larger than {MAX_OBJECT_BYTES} bytes"):
            await store.get("large")
        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_ping_tells_the_truth_within_its_limit(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Well: silent. Frozen: an error in time, also while the check before is still stuck. Well again: silent."""
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        await store.ping()
        object_store_process.stop()
        for _ in range(3):
            async with asyncio.timeout(1.0):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(store.ping(), 0.1)
        object_store_process.resume()
        await until(lambda: not store._ping_running)
        await store.ping()
