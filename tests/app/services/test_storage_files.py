"""Files: acknowledged only when durable, readable from wherever they are, with the store well, away or switched off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.core.errors import StorageFullError, UnavailableError
from app.core.resilience.breaker import BreakerState
from app.infrastructure.object_client import transfer_allowance_s
from app.infrastructure.object_file import DamagedError
from app.infrastructure.object_store import CALL_TIMEOUT_S
from app.services.storage import (
    PIECE_BYTES,
    ObjectMissingError,
    StorageService,
)
from chaos.toxiproxy.toxics import BlackholeToxic, LimitToxic
from tests.app.conftest import state_of, until
from tests.app.infrastructure.edge import edge_to
from tests.app.services.stores import TYPE, body, made, pinned, put, request_context, storing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.core.config import Settings
    from app.core.context import RequestContext
    from app.core.metrics import Metrics
    from tests.app.infrastructure.edge import Edge
    from tests.app.servers import Server

__all__ = ["request_context"]

pytestmark = pytest.mark.live

MIB = 1024 * 1024


async def test_a_file_goes_to_the_store_and_a_copy_stays(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    tmp_path: Path,
    request_context: RequestContext,
) -> None:
    """Nothing is pinned or degraded; the store dies, and the same bytes with the same etag are served from here."""
    file = made(tmp_path, 3 * PIECE_BYTES + 7)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        assert await put(storage, "sources/1", file) == "s3"
        file.path.unlink()
        stream = await storage.open("sources/1")
        assert await body(stream) == file.data
        assert (stream.size, stream.etag, stream.content_type) == (
            len(file.data),
            file.checksum,
            TYPE,
        )
        assert await storage.pinned() == []
        assert request_context.degraded == set()
        await until(lambda: storage._local.holds("sources/1", file.checksum))
        object_store_process.kill()
        again = await storage.open("sources/1", 5, PIECE_BYTES)

        assert await body(again) == file.data[5 : 5 + PIECE_BYTES]
        assert (again.etag, again.size, again.length) == (stream.etag, stream.size, PIECE_BYTES)
        assert request_context.degraded == {"storage"}


def _refuse(edge: Edge) -> None:
    edge.refuse()


def _swallow(edge: Edge) -> None:
    edge.inject(BlackholeToxic("t", "upstream"))


def _cut(edge: Edge) -> None:
    edge.inject(LimitToxic("t", "upstream", 3_000_000))


@pytest.mark.parametrize("break_store", [_refuse, _swallow, _cut])
async def test_a_store_that_fails_in_the_middle_costs_no_upload(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    tmp_path: Path,
    break_store: Callable[[Edge], None],
) -> None:
    """Refused, hung or cut off: pinned with the same bytes at most the call's limit later, and served at once."""
    file = made(tmp_path, 18 * MIB)
    loop = asyncio.get_running_loop()
    with edge_to(object_store_process, tmp_path) as edge:
        async with storing(edge.address, settings, metrics) as stored:
            await stored.store.ensure_bucket()
            await asyncio.to_thread(break_store, edge)
            begun = loop.time()
            assert await put(stored.storage, "sources/1", file) == "local"
            assert loop.time() - begun < CALL_TIMEOUT_S + transfer_allowance_s(18 * MIB) + 1.5
            file.path.unlink()
            stream = await stored.storage.open("sources/1")

            assert await body(stream) == file.data
            assert stream.etag == file.checksum
            assert [head.key for head in await stored.storage.pinned()] == ["sources/1"]


async def test_a_hung_store_is_soon_asked_no_more(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    tmp_path: Path,
    *,
    request_context: RequestContext,
) -> None:
    """The first uploads wait up to their limit; then the breaker answers for the store, and each is pinned at once."""
    file = made(tmp_path, 1000)
    loop = asyncio.get_running_loop()
    async with storing(object_store_process.address, settings, metrics) as stored:
        await stored.store.ensure_bucket()
        object_store_process.stop()
        number = 0
        while state_of(stored.breaker) is BreakerState.CLOSED:
            keys = [f"sources/{number + n}" for n in range(4)]
            assert await asyncio.gather(*(put(stored.storage, key, file) for key in keys))
            number += 4
        times = []
        for n in range(number, number + 20):
            begun = loop.time()
            assert await put(stored.storage, f"sources/{n}", file) == "local"
            times.append(loop.time() - begun)

        assert sorted(times)[10] < 0.2
        assert len(await stored.storage.pinned()) == number + 20
        assert request_context.degraded == {"storage"}
        assert sample("app_fallback_total", dependency="s3", reason="breaker_open") >= 15
        assert sample("storage_spool_files") == number + 20
        assert sample("storage_spool_bytes") > 1000 * (number + 20)


async def test_switched_off_everything_is_local(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    tmp_path: Path,
    *,
    request_context: RequestContext,
) -> None:
    """Stored, read, listed and deleted here alone; the store is not asked, and nobody copies anything away."""
    file = made(tmp_path, 2000)
    server = object_store_process
    async with storing(server.address, settings, metrics, feature_s3_enabled=False) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        assert await put(storage, "sources/1", file) == "local"
        assert request_context.degraded == {"storage"}
        assert (await storage.reconcile_once(10)).copied == 0
        assert await body(await storage.open("sources/1")) == file.data
        assert await stored.store.keys("") == []
        await storage.delete("sources/1")
        with pytest.raises(UnavailableError):
            await storage.open("sources/1")

        assert await storage.pinned() == []
        assert sample("storage_operations_total", backend="s3", operation="put", result="ok") == 0


async def test_a_full_disk_share_refuses_and_keeps_what_it_has(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    tmp_path: Path,
) -> None:
    """507 once pins fill it, at no cost to what was acknowledged; with the store back uploads are fine again."""
    file = made(tmp_path, 40_000)
    limit = 100_000
    async with storing(
        object_store_process.address, settings, metrics, local_store_max_bytes=limit
    ) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        object_store_process.kill()
        assert [await put(storage, f"sources/{n}", file) for n in range(2)] == ["local", "local"]
        with pytest.raises(StorageFullError):
            await put(storage, "sources/2", file)
        for n in range(2):
            assert await body(await storage.open(f"sources/{n}")) == file.data
        await asyncio.to_thread(object_store_process.start)
        await _until_reconciled(storage)

        assert await put(storage, "sources/2", file) == "s3"
        assert (
            sample("storage_operations_total", backend="local", operation="pin", result="full") == 1
        )


async def _until_reconciled(storage: StorageService) -> None:
    async with asyncio.timeout(10):
        while await storage.pinned():
            await storage.reconcile_once(100)
            await asyncio.sleep(0.05)


async def test_what_is_pinned_is_served_though_the_store_is_well(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    tmp_path: Path,
    request_context: RequestContext,
) -> None:
    """The store has no such key yet: whole, by range, its facts, as thumbnail; each answer says that it is degraded."""
    file = made(tmp_path, 1_200_000)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        await pinned(stored.storage, "thumbnails/1.png", file)
        for read in (
            storage.open("thumbnails/1.png"),
            storage.open("thumbnails/1.png", 600_000, 10),
            storage.stat("thumbnails/1.png"),
            storage.thumbnail("thumbnails/1.png"),
        ):
            request_context.degraded.clear()
            await read
            assert request_context.degraded == {"storage"}
        assert await body(await storage.open("thumbnails/1.png")) == file.data
        assert await storage.thumbnail("thumbnails/1.png") == (file.data, TYPE)
        assert (await storage.stat("thumbnails/1.png")).etag == file.checksum
        assert await storage.exists("thumbnails/1.png")


async def test_what_is_nowhere_is_told_apart_from_what_cannot_be_had(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    request_context: RequestContext,
) -> None:
    """Missing in a store that is well: missing, not degraded. The store away and nothing here: unavailable (503)."""
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        with pytest.raises(ObjectMissingError):
            await storage.open("sources/1")
        assert not await storage.exists("sources/1")
        assert request_context.degraded == set()
        object_store_process.kill()
        for call in (storage.open, storage.stat, storage.exists, storage.delete):
            with pytest.raises(UnavailableError) as unavailable:
                await call("sources/1")
            assert unavailable.value.retry_after_s is not None

        assert request_context.degraded == set()


async def test_what_was_deleted_is_nowhere(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """Not in the store, not pinned, no copy: with the store dead nothing of it is served; twice is no error."""
    file = made(tmp_path, 1000)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        await put(storage, "sources/1", file)
        await pinned(stored.storage, "sources/2", file)
        await until(lambda: storage._local.holds("sources/1", file.checksum))
        for key in ("sources/1", "sources/2", "sources/1"):
            await storage.delete(key)
        assert await stored.store.keys("") == []
        object_store_process.kill()
        for key in ("sources/1", "sources/2"):
            with pytest.raises(UnavailableError):
                await storage.open(key)


async def test_a_file_that_is_not_what_was_announced_is_not_pinned(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """Bytes that changed since they were counted are not acknowledged as what they were."""
    file = made(tmp_path, 1000)
    file.path.write_bytes(bytes(1000))
    object_store_process.kill()
    async with storing(object_store_process.address, settings, metrics) as stored:
        with pytest.raises(DamagedError):
            await put(stored.storage, "sources/1", file)
        assert await stored.storage.pinned() == []


@pytest.mark.parametrize("key", ["../a", "/a", "a/../../b", ""])
async def test_a_key_that_can_be_none_reaches_no_disk_and_no_store(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path, key: str
) -> None:
    """Every way in refuses it."""
    file = made(tmp_path, 10)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        for call in (storage.open, storage.stat, storage.exists, storage.delete):
            with pytest.raises(ValueError, match="does not name a file"):
                await call(key)
        with pytest.raises(ValueError, match="does not name a file"):
            await put(storage, key, file)
        assert await stored.store.keys("") == []
