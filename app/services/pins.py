"""What was acknowledged while the store was away: kept on the local disk, counted, and copied to the store later."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from app.core.errors import StorageFullError
from app.infrastructure.object_file import DamagedError, Head
from app.infrastructure.pin_store import PinStore, Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Future
    from pathlib import Path

    from app.core.metrics import Metrics
    from app.infrastructure.object_file import ObjectFile

T = TypeVar("T")

READERS = 2
WRITERS = 2  # apart, since a write waits for the disk
REMOVE_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.02

log = structlog.get_logger(component="storage")


class Pins:
    """The pins of one folder, for the event loop: disk work is done in a few threads."""

    def __init__(self, store: PinStore, metrics: Metrics) -> None:
        self._store = store
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="local-read")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="local-write")
        self._operations = metrics.storage_operations_total
        # Read at each scrape, from the disk: other processes pin and unpin too.
        metrics.storage_spool_files.set_function(lambda: self._spool().files)
        metrics.storage_spool_bytes.set_function(lambda: self._spool().size_bytes)

    async def pin(self, head: Head, source: int) -> None:
        """Keep the bytes of open file `source`; when this returns they are durable.

        Raises StorageFullError, DamagedError, OSError.
        """
        # The thread may outlive a caller who is cancelled and closes the file.
        mine = os.dup(source)
        writing = self._writers.submit(self._store.pin, head, mine)
        writing.add_done_callback(lambda _: os.close(mine))
        try:
            await asyncio.wrap_future(writing)
        except StorageFullError as full:
            self._operations.labels("local", "pin", "full").inc()
            log.warning("storage_pins_full", needed=full.needed_bytes, free=full.free_bytes)
            raise
        except (OSError, DamagedError):
            self._operations.labels("local", "pin", "error").inc()
            raise
        self._operations.labels("local", "pin", "ok").inc()

    async def holds(self, key: str) -> bool:
        """Return whether the object is pinned. Raises ValueError for a key that can be none."""
        return await self.reading(partial(self._store.holds, key))

    async def read(self, key: str, start: int, length: int) -> tuple[Head, bytes] | None:
        """Return up to `length` bytes of a pinned object, or None; what cannot be read is logged and is None."""
        try:
            return await self.reading(partial(self._store.read, key, start, length))
        except (DamagedError, OSError):
            self._operations.labels("local", "get", "error").inc()
            log.exception("storage_pin_unreadable", key=key)
            return None

    async def all(self, limit: int | None = None) -> list[Head]:
        """Return what is pinned, the longest waiting first."""
        return await self.reading(partial(self._store.all, limit))

    async def remove(self, key: str) -> bool:
        """Let a pin go, since its object is to be deleted; tell whether there was one.

        Not while it is being copied away, or the copy would come after the deletion. Raises TimeoutError when that
        takes too long.
        """
        async with asyncio.timeout(REMOVE_WITHIN_S):
            while await self.holds(key):
                try:
                    async with self.claimed(key) as claimed:
                        if claimed is not None and await self.unpin(claimed):
                            return True
                except DamagedError:
                    return await self.writing(partial(self._store.remove, key))
                await asyncio.sleep(LOOK_AGAIN_S)
        return False

    async def sweep(self) -> None:
        """Remove what killed writers left."""
        if gone := await self.writing(self._store.sweep):
            log.info("storage_parts_removed", files=gone)

    @asynccontextmanager
    async def claimed(self, key: str) -> AsyncIterator[ObjectFile | None]:
        """Have a pin for oneself alone, of all processes; None when it is gone or another has it."""
        found = await self._open(partial(self._store.claim, key), _close_claim)
        try:
            yield found
        finally:
            _close_claim(found)

    async def unpin(self, claimed: ObjectFile) -> bool | None:
        """Remove the pin that was claimed; False when it has been written again, None when it is gone."""
        done = await self.writing(partial(self._store.unpin, claimed))
        self._operations.labels("local", "unpin", "ok" if done else "kept").inc()
        return done

    async def reading(self, work: Callable[[], T]) -> T:
        """Do work that reads the disk in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def writing(self, work: Callable[[], T]) -> T:
        """Do work that writes to the disk in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)

    @asynccontextmanager
    async def opened(self, path: Path) -> AsyncIterator[int]:
        """Open a file for reading."""
        handle = await self._open(partial(os.open, path, os.O_RDONLY), os.close)
        try:
            yield handle
        finally:
            os.close(handle)

    def close(self) -> None:
        """Let go of the threads."""
        for threads in (self._readers, self._writers):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _open(self, work: Callable[[], T], close: Callable[[T], None]) -> T:
        """Open something in a thread; what it opened for a caller who has left is closed."""
        opening = self._readers.submit(work)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(partial(_close_unused, close=close))
            raise

    def _spool(self) -> Spool:
        try:
            return self._store.spool()
        except OSError:
            return Spool(0, 0)  # the folder is gone; a scrape must not fail for it


def _close_claim(found: ObjectFile | None) -> None:
    if found is not None:
        found.close()


def _close_unused(opening: Future[T], *, close: Callable[[T], None]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        close(opening.result())
