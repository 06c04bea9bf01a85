"""Copies of hot objects on the local disk, so that reads go on while the store is away. A help, not a duty."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from app.core.resilience.deadline import clear_deadline
from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.local_store import LocalObject, LocalStore
from app.infrastructure.object_file import DamagedError
from app.infrastructure.object_store import MAX_OBJECT_BYTES, ObjectMissingError, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from app.core.metrics import Metrics
    from app.infrastructure.object_file import Head
    from app.infrastructure.object_store import ObjectInfo

T = TypeVar("T")

# Beyond this many waiting writes the disk is too slow, and copies are left out.
MAX_PENDING = 16
MAX_HELD_BYTES = 16 * 1024 * 1024  # of objects in memory, on their way to the disk
CLOSE_WITHIN_S = 1.0

log = structlog.get_logger(component="storage")


class Reading(Protocol):
    """Runs what reads the disk in a thread."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Do the work."""


class Copies:
    """What is kept is kept in the background; no answer waits for the disk."""

    def __init__(
        self,
        local: LocalStore,
        store: ObjectStore,
        metrics: Metrics,
        reading: Reading,
    ) -> None:
        self._local = local
        self._store = store
        self._operations = metrics.storage_operations_total
        self._reading = reading
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-copy")
        self._pending: set[asyncio.Task[None]] = set()
        self._held_bytes = 0

    def keep(self, key: str, found: LocalObject) -> None:
        """Keep a copy of what was just read, unless this version is there."""
        size = len(found.data)
        if not self._local.holds(key, found.etag) and self._has_room(size):
            self._begin(size, self._write(key, partial(self._local.put, key, found)))

    def keep_file(self, head: Head, handle: int, offset: int = 0) -> None:
        """Keep a copy of what was just stored, if it is small. The open file stays the caller's."""
        if head.size <= MAX_OBJECT_BYTES and self._has_room(0):
            mine = os.dup(handle)
            copy = partial(self._local.copy, head, mine, offset)
            task = self._begin(0, self._write(head.key, copy))
            task.add_done_callback(lambda _: os.close(mine))

    def fetch(self, key: str, whole: ObjectInfo) -> None:
        """Keep a copy of an object of which a part was just read, if it is small and not there."""
        small = whole.size <= MAX_OBJECT_BYTES
        if small and not self._local.holds(key, whole.etag) and self._has_room(whole.size):
            self._begin(whole.size, self._fetch(key))

    async def read(self, key: str, start: int, length: int) -> tuple[Head, bytes] | None:
        """Return up to `length` bytes of a copy, or None."""
        found = await self._reading(partial(self._local.read, key, start, length))
        self._operations.labels("local", "get", "missing" if found is None else "hit").inc()
        return found

    async def forget(self, key: str) -> None:
        """Remove a copy, since its object is to be deleted; after the copies that are under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._local.remove, key)

    async def close(self) -> None:
        """Let the copies under way end, then let go of the thread."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=CLOSE_WITHIN_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _has_room(self, size: int) -> bool:
        return len(self._pending) < MAX_PENDING and self._held_bytes + size <= MAX_HELD_BYTES

    def _begin(self, size: int, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            self._held_bytes -= size
            self._pending.discard(task)

        self._held_bytes += size
        context = copy_context()
        context.run(clear_deadline)  # the request does not wait for it
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._pending.add(task)
        task.add_done_callback(ended)
        return task

    async def _write(self, key: str, write: Callable[[], int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            gone = await loop.run_in_executor(self._thread, write)
        except (OSError, ValueError, DamagedError):
            self._operations.labels("local", "put", "error").inc()
            log.debug("storage_copy_failed", key=key, exc_info=True)
            return
        self._operations.labels("local", "put", "ok").inc()
        if gone:
            self._operations.labels("local", "evict", "ok").inc(gone)

    async def _fetch(self, key: str) -> None:
        try:
            stored = await self._store.get(key)
        except (ObjectMissingError, DependencyUnavailableError, ValueError):
            return
        found = LocalObject(stored.data, stored.content_type, stored.etag)
        await self._write(key, partial(self._local.put, key, found))
