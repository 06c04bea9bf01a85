"""Thumbnails, whatever happens to the store: the image, a copy of it, or a placeholder, never an error."""

from __future__ import annotations

import struct
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app.core.context import RequestContext, current
from app.infrastructure.object_store import ObjectStore, object_store_guard
from app.services.placeholder import PLACEHOLDER, PLACEHOLDER_TYPE
from app.services.storage import StorageService
from tests.app.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from tests.app.servers import Server

IMAGE = (b"image", "image/webp")


@asynccontextmanager
async def storage_on(
    server: Server, settings: Settings, metrics: Metrics, *, enabled: bool = True
) -> AsyncIterator[tuple[StorageService, ObjectStore]]:
    """Build the service on `server`, with a bucket that holds one thumbnail."""
    settings = settings.model_copy(
        update={"s3_endpoint": server.address, "feature_s3_enabled": enabled}
    )
    store = ObjectStore(settings, object_store_guard(metrics))
    await store.ensure_bucket()
    await store.put("thumbnails/1.webp", *IMAGE)
    storage = StorageService(settings, store, metrics)
    try:
        yield storage, store
    finally:
        await storage.close()
        await store.close()


@pytest.fixture
def request_context() -> RequestContext:
    """The request in which everything happens."""
    context = RequestContext("req-1", "trace")
    current.set(context)
    return context


def operations(sample: Callable[..., float], backend: str, operation: str, result: str) -> float:
    """Return how often that happened."""
    return sample("storage_operations_total", backend=backend, operation=operation, result=result)


@pytest.mark.live
async def test_the_store_answers_and_a_copy_is_kept_once(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    request_context: RequestContext,
) -> None:
    """Each read comes from the store and is not degraded; the same version is copied only once."""
    async with storage_on(object_store_process, settings, metrics) as (storage, store):
        for _ in range(3):
            assert await storage.thumbnail("thumbnails/1.webp") == IMAGE
            await until(lambda: operations(sample, "local", "put", "ok") == 1)
        await store.put("thumbnails/1.webp", b"newer", "image/webp")
        assert await storage.thumbnail("thumbnails/1.webp") == (b"newer", "image/webp")
        await until(lambda: operations(sample, "local", "put", "ok") == 2)

    assert operations(sample, "s3", "get", "hit") == 4
    assert request_context.degraded == set()


@pytest.mark.live
async def test_without_the_store_copies_and_a_placeholder_serve(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    request_context: RequestContext,
) -> None:
    """What was read before is served as it was, the rest as a placeholder; both say that they are degraded."""
    async with storage_on(object_store_process, settings, metrics) as (storage, _):
        await storage.thumbnail("thumbnails/1.webp")
        await until(lambda: operations(sample, "local", "put", "ok") == 1)
        object_store_process.kill()
        for _ in range(30):
            assert await storage.thumbnail("thumbnails/1.webp") == IMAGE
        assert request_context.degraded == {"storage"}
        placeholder = await storage.thumbnail("thumbnails/2.webp")

    assert placeholder == (PLACEHOLDER, PLACEHOLDER_TYPE)
    assert operations(sample, "local", "get", "hit") == 30
    assert operations(sample, "placeholder", "get", "hit") == 1
    assert sample("app_fallback_total", dependency="s3", reason="breaker_open") > 0


@pytest.mark.live
async def test_copies_outlive_a_restart(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
) -> None:
    """A new process that never saw the store still has the hot objects."""
    async with storage_on(object_store_process, settings, metrics) as (storage, store):
        await storage.thumbnail("thumbnails/1.webp")
        await until(lambda: operations(sample, "local", "put", "ok") == 1)
        object_store_process.kill()
        restarted = StorageService(settings, store, metrics)
        assert await restarted.thumbnail("thumbnails/1.webp") == IMAGE
        await restarted.close()


@pytest.mark.live
async def test_a_thumbnail_that_does_not_exist_yet_is_a_placeholder(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    request_context: RequestContext,
) -> None:
    """Missing in a store that is well is no fault, so the answer is not degraded."""
    async with storage_on(object_store_process, settings, metrics) as (storage, _):
        assert await storage.thumbnail("thumbnails/2.webp") == (PLACEHOLDER, PLACEHOLDER_TYPE)

    assert operations(sample, "s3", "get", "missing") == 1
    assert request_context.degraded == set()


@pytest.mark.live
async def test_switched_off_the_store_is_never_asked(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    request_context: RequestContext,
) -> None:
    """The flag leads straight to what is local; that is counted, and the answer says that it is degraded."""
    async with storage_on(object_store_process, settings, metrics, enabled=False) as (storage, _):
        answer = await storage.thumbnail("thumbnails/1.webp")

    assert answer == (PLACEHOLDER, PLACEHOLDER_TYPE)
    assert operations(sample, "s3", "get", "disabled") == 1
    assert operations(sample, "s3", "get", "hit") == 0
    assert request_context.degraded == {"storage"}


@pytest.mark.live
async def test_a_full_disk_costs_only_the_copy(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
) -> None:
    """When the copy cannot be written the answer is the image all the same, and the failure is counted."""
    tiny = settings.model_copy(update={"local_store_max_bytes": 1})
    async with storage_on(object_store_process, tiny, metrics) as (storage, _):
        assert await storage.thumbnail("thumbnails/1.webp") == IMAGE
        await until(lambda: operations(sample, "local", "put", "error") == 1)


def test_the_placeholder_is_a_valid_png() -> None:
    """Signature, size, every checksum, and exactly as many bytes of image as it says."""
    assert PLACEHOLDER.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, rest = dict[bytes, bytes](), PLACEHOLDER[8:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, data = rest[4:8], rest[8 : 8 + length]
        (checksum,) = struct.unpack(">I", rest[8 + length : 12 + length])
        assert zlib.crc32(kind + data) == checksum
        chunks[kind], rest = data, rest[12 + length :]
    width, height, depth = struct.unpack(">IIB", chunks[b"IHDR"][:9])

    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + width * depth // 8)
