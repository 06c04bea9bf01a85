"""Stored objects for the API and the worker, and the one place where the fallback of `s3` is chosen."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from app.core.context import mark_degraded
from app.core.errors import UnavailableError
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.infrastructure.local_store import LocalObject, LocalStore
from app.infrastructure.object_file import Head, check_key
from app.infrastructure.object_store import (
    DEPENDENCY,
    MAX_OBJECT_BYTES,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
    Piece,
    RangeError,
)
from app.services.copies import Copies
from app.services.copy_back import CopyBack, Reconciled
from app.services.pins import Pins
from app.services.placeholder import PLACEHOLDER, PLACEHOLDER_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.core.config import Settings
    from app.core.metrics import Metrics

__all__ = [
    "ObjectChangedError",
    "ObjectMissingError",
    "ObjectStream",
    "RangeError",
    "StorageService",
]

FEATURE = "storage"
PIECE_BYTES = 512 * 1024

log = structlog.get_logger(component="storage")


class ObjectChangedError(Exception):
    """The object was replaced by another while it was read; what was sent of it is of no use."""


@dataclass(frozen=True, slots=True)
class ObjectStream:
    """Bytes `start` to `start + length` of an object of `size` bytes. It holds nothing that must be closed.

    `etag` is the SHA-256 in hex of what was stored through `put_file`, wherever it is read from. `chunks` raises
    UnavailableError, ObjectMissingError or ObjectChangedError when the rest cannot be had.
    """

    size: int
    start: int
    length: int
    etag: str
    content_type: str
    chunks: AsyncIterator[bytes]


class StorageService:
    """The object store first; the local store beside it while the store is away or switched off.

    What is pinned is the newest of its key, and waits for the store: it is read here, and written here again until
    it has been copied, so that an older version can never come after a newer one.
    """

    def __init__(self, settings: Settings, store: ObjectStore, metrics: Metrics) -> None:
        self._enabled = settings.feature_s3_enabled
        self._store = store
        local = LocalStore(settings.local_store_dir, settings.local_store_max_bytes)
        self._local = local
        self._pins = Pins(local.pins, metrics)
        self._copies = Copies(local, store, metrics, self._pins.reading)
        self._copy_back = CopyBack(self._pins, self._copies, store, metrics)
        self._operations = metrics.storage_operations_total
        self._fallbacks = metrics.app_fallback_total

    async def put_file(
        self, key: str, path: Path, content_type: str, checksum: str
    ) -> Literal["s3", "local"]:
        """Store a file; when this returns its bytes are durable, and the file may go.

        `checksum` is their SHA-256 in hex. Returns where they are: "local" means that they are pinned until the store
        has them. Raises StorageFullError (507), UnavailableError (503) when the local disk fails too, ValueError for a
        key that can be none, DamagedError when the bytes have another checksum and were to be pinned, OSError when the
        file cannot be read.
        """
        check_key(key)
        async with self._pins.opened(path) as handle:
            head = Head(key, os.fstat(handle).st_size, content_type, checksum)
            if await self._put_to_store(head, handle):
                self._copies.keep_file(head, handle)
                return "s3"
            mark_degraded(FEATURE)
            try:
                await self._pins.pin(head, handle)
            except OSError as error:
                log.exception("storage_pin_failed", key=key)
                raise UnavailableError(DEPENDENCY) from error
            return "local"

    async def open(self, key: str, start: int = 0, length: int | None = None) -> ObjectStream:
        """Open an object for reading: up to `length` bytes from `start` on, or all the rest.

        The first piece has been read when this returns, so an object that cannot be had fails here. Raises
        ObjectMissingError, RangeError when it ends before `start`, UnavailableError (503) when the store is away and
        nothing is here, ValueError for a key that can be none.
        """
        check_key(key)
        wanted = PIECE_BYTES if length is None else min(length, PIECE_BYTES)
        try:
            first = await self._piece(key, start, max(1, wanted))
        except RangeError:
            # An empty object has no first byte that could be asked for.
            whole = await self.stat(key)
            if start != 0 or whole.size != 0:
                raise
            first = Piece(b"", whole)
        whole = first.whole
        length = whole.size - start if length is None else min(length, whole.size - start)
        chunks = self._chunks(key, start, length, first)
        return ObjectStream(whole.size, start, length, whole.etag, whole.content_type, chunks)

    async def stat(self, key: str) -> ObjectInfo:
        """Return an object's size, content type and etag. Raises what `open` raises."""
        check_key(key)
        if (pinned := await self._pins.read(key, 0, 0)) is not None:
            mark_degraded(FEATURE)
            return _info(pinned[0])
        if not self._enabled:
            self._operations.labels("s3", "stat", "disabled").inc()
            return _info((await self._copy(key, 0, 0, None))[0])
        try:
            found = await self._store.stat(key)
        except ObjectMissingError:
            self._operations.labels("s3", "stat", "missing").inc()
            raise
        except DependencyUnavailableError as unavailable:
            self._operations.labels("s3", "stat", "error").inc()
            return _info((await self._copy(key, 0, 0, unavailable))[0])
        self._operations.labels("s3", "stat", "hit").inc()
        return found

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object. Raises UnavailableError when that cannot be known."""
        try:
            await self.stat(key)
        except ObjectMissingError:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Remove an object wherever it is; that it is nowhere is no error.

        Raises DependencyUnavailableError when the store may still have it: try again. Switched off, the store is left
        alone, as everywhere.
        """
        check_key(key)
        # First here: once the pin is gone nobody copies it to the store any more.
        try:
            await self._pins.remove(key)
        except TimeoutError as error:
            self._operations.labels("local", "delete", "error").inc()
            raise DependencyUnavailableError(DEPENDENCY, Reason.TIMEOUT) from error
        await self._copies.forget(key)
        self._operations.labels("local", "delete", "ok").inc()
        if not self._enabled:
            self._operations.labels("s3", "delete", "disabled").inc()
            return
        try:
            await self._store.delete(key)
        except DependencyUnavailableError:
            self._operations.labels("s3", "delete", "error").inc()
            raise
        self._operations.labels("s3", "delete", "ok").inc()

    async def pinned(self, limit: int | None = None) -> list[Head]:
        """Return what waits here for the store, the longest waiting first."""
        return await self._pins.all(limit)

    async def free_bytes(self) -> int:
        """Return how much could be pinned now; copies make room."""
        return await self._pins.reading(self._local.free_bytes)

    async def reconcile_once(self, limit: int) -> Reconciled:
        """Copy up to `limit` pins to the store, compare what it then has with them, and unpin what is the same.

        What goes wrong is counted, logged and left pinned for the next pass; it also removes what killed writers left.
        """
        if not self._enabled:
            await self._pins.sweep()
            return Reconciled()
        return await self._copy_back.run(limit)

    async def thumbnail(self, key: str) -> tuple[bytes, str]:
        """Return an image and its content type, whatever happens to the store.

        An object that the store does not have is no fault: the placeholder then is the right answer, unless it waits
        here.
        """
        if not self._enabled:
            self._operations.labels("s3", "get", "disabled").inc()
            mark_degraded(FEATURE)
            return await self._local_or_placeholder(key)
        try:
            stored = await self._store.get(key)
        except ObjectMissingError:
            self._operations.labels("s3", "get", "missing").inc()
            pinned = await self._pins.read(key, 0, MAX_OBJECT_BYTES)
            if pinned is None:
                return self._placeholder()
            self._operations.labels("local", "get", "hit").inc()
            mark_degraded(FEATURE)
            return pinned[1], pinned[0].content_type
        except DependencyUnavailableError as unavailable:
            self._operations.labels("s3", "get", "error").inc()
            self._fallbacks.labels(DEPENDENCY, unavailable.reason).inc()
            mark_degraded(FEATURE)
            return await self._local_or_placeholder(key)
        self._operations.labels("s3", "get", "hit").inc()
        self._copies.keep(key, LocalObject(stored.data, stored.content_type, stored.etag))
        return stored.data, stored.content_type

    async def close(self) -> None:
        """Let the copies under way end, then let go of the threads."""
        await self._copies.close()
        self._pins.close()

    async def _put_to_store(self, head: Head, handle: int) -> bool:
        """Store an open file; tell whether the store has it and nothing that is pinned could come over it."""
        if not self._enabled:
            self._operations.labels("s3", "put", "disabled").inc()
            return False
        if await self._pins.holds(head.key):
            return False
        try:
            await self._store.put_file(head.key, handle, head.content_type, head.checksum)
        except DependencyUnavailableError as unavailable:
            self._operations.labels("s3", "put", "error").inc()
            self._fallbacks.labels(DEPENDENCY, unavailable.reason).inc()
            log.info("storage_upload_failed", key=head.key, storage="s3", reason=unavailable.reason)
            return False
        self._operations.labels("s3", "put", "ok").inc()
        return True

    async def _chunks(
        self, key: str, start: int, length: int, first: Piece
    ) -> AsyncIterator[bytes]:
        """Give out the first piece, then read the others one by one, each from wherever it can be had."""
        end, piece = start + length, first
        while True:
            if piece.whole.size != first.whole.size or piece.whole.etag != first.whole.etag:
                raise ObjectChangedError(f"object {key!r} was replaced while it was read")
            yield piece.data[: end - start]
            start += len(piece.data)
            if start >= end:
                return
            piece = await self._piece(key, start, min(end - start, PIECE_BYTES))

    async def _piece(self, key: str, start: int, length: int) -> Piece:
        pinned = await self._pins.read(key, start, length)
        if pinned is not None:
            self._operations.labels("local", "get", "hit").inc()
            mark_degraded(FEATURE)
            return _piece_of(pinned, start)
        if not self._enabled:
            self._operations.labels("s3", "get", "disabled").inc()
            return _piece_of(await self._copy(key, start, length, None), start)
        try:
            piece = await self._store.read(key, start, length)
        except ObjectMissingError:
            self._operations.labels("s3", "get", "missing").inc()
            raise
        except DependencyUnavailableError as unavailable:
            self._operations.labels("s3", "get", "error").inc()
            return _piece_of(await self._copy(key, start, length, unavailable), start)
        self._operations.labels("s3", "get", "hit").inc()
        whole = piece.whole
        if len(piece.data) == whole.size:
            self._copies.keep(key, LocalObject(piece.data, whole.content_type, whole.etag))
        else:
            self._copies.fetch(key, whole)
        return piece

    async def _copy(
        self, key: str, start: int, length: int, unavailable: DependencyUnavailableError | None
    ) -> tuple[Head, bytes]:
        """Read a copy, as the store cannot be asked; raise that it cannot when there is none."""
        found = await self._copies.read(key, start, length)
        if found is None:
            raise unavailable or UnavailableError(DEPENDENCY)
        if unavailable is not None:
            self._fallbacks.labels(DEPENDENCY, unavailable.reason).inc()
        mark_degraded(FEATURE)
        return found

    async def _local_or_placeholder(self, key: str) -> tuple[bytes, str]:
        try:
            found = await self._pins.read(key, 0, MAX_OBJECT_BYTES)
            if found is not None:
                self._operations.labels("local", "get", "hit").inc()
            else:
                found = await self._copies.read(key, 0, MAX_OBJECT_BYTES)
        except ValueError:
            found = None  # a key that names no file
        if found is None:
            return self._placeholder()
        return found[1], found[0].content_type

    def _placeholder(self) -> tuple[bytes, str]:
        self._operations.labels("placeholder", "get", "hit").inc()
        return PLACEHOLDER, PLACEHOLDER_TYPE


def _info(head: Head) -> ObjectInfo:
    return ObjectInfo(head.size, head.content_type, head.checksum)


def _piece_of(found: tuple[Head, bytes], start: int) -> Piece:
    head, data = found
    if start >= head.size:
        raise RangeError(head.key, start)
    return Piece(data, _info(head))
