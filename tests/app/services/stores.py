"""The storage service on a real store, for tests that break the store or look at what is left."""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from app.core.context import RequestContext, current
from app.infrastructure.object_store import ObjectStore, object_store_guard
from app.services.storage import ObjectStream, StorageService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.core.resilience.breaker import Breaker

TYPE = "video/mp4"


@dataclass(frozen=True, slots=True)
class Stored:
    """A storage service with what it stands on."""

    storage: StorageService
    store: ObjectStore
    breaker: Breaker


@asynccontextmanager
async def storing(
    address: str,
    settings: Settings,
    metrics: Metrics,
    *,
    kind: type[ObjectStore] = ObjectStore,
    **changes: Any,
) -> AsyncIterator[Stored]:
    """Build the service on the store at `address`; `kind` is a store that misbehaves."""
    settings = settings.model_copy(update={"s3_endpoint": address, **changes})
    guard = object_store_guard(metrics)
    store = kind(settings, guard, metrics)
    storage = StorageService(settings, store, metrics)
    try:
        yield Stored(storage, store, guard.breaker)
    finally:
        await storage.close()
        await store.close()


@dataclass(frozen=True, slots=True)
class File:
    """A file of random bytes."""

    path: Path
    data: bytes
    checksum: str


def made(folder: Path, size: int) -> File:
    """Write one."""
    data = os.urandom(size)
    checksum = hashlib.sha256(data).hexdigest()
    path = folder / f"file-{checksum[:8]}"
    path.write_bytes(data)
    return File(path, data, checksum)


async def put(storage: StorageService, key: str, file: File) -> str:
    """Store a file; return where it is."""
    return await storage.put_file(key, file.path, TYPE, file.checksum)


async def pinned(storage: StorageService, key: str, file: File) -> None:
    """Pin a file as an upload does while the store is away."""
    storage._enabled = False
    try:
        assert await put(storage, key, file) == "local"
    finally:
        storage._enabled = True


async def body(stream: ObjectStream) -> bytes:
    """Read a stream to its end."""
    return b"".join([chunk async for chunk in stream.chunks])


@pytest.fixture
def request_context() -> RequestContext:
    """The request in which everything happens."""
    context = RequestContext("req-1", "trace")
    current.set(context)
    return context
