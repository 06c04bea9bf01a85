"""Stored objects for the API, and the one place where the fallback of `s3` is chosen."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from app.core.context import mark_degraded
from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.local_store import LocalObject, LocalStore
from app.infrastructure.object_store import DEPENDENCY, ObjectMissingError, ObjectStore
from app.services.placeholder import PLACEHOLDER, PLACEHOLDER_TYPE

if TYPE_CHECKING:
    from app.core.config import Settings
    from app.core.metrics import Metrics

FEATURE = "storage"
LOCAL_THREADS = 2
# Copies are a help, not a duty: beyond this many waiting writes the disk is too slow and they are left out.
MAX_PENDING_COPIES = 16

log = structlog.get_logger(component="storage")


class StorageService:
    """Thumbnails: from the store, else the local copy of a hot one, else a placeholder."""

    def __init__(self, settings: Settings, store: ObjectStore, metrics: Metrics) -> None:
        self._enabled = settings.feature_s3_enabled
        self._store = store
        self._local = LocalStore(settings.local_store_dir, settings.local_store_max_bytes)
        self._threads = ThreadPoolExecutor(LOCAL_THREADS, thread_name_prefix="local-store")
        self._operations = metrics.storage_operations_total
        self._fallbacks = metrics.app_fallback_total
        self._copies: set[asyncio.Task[None]] = set()

    async def thumbnail(self, key: str) -> tuple[bytes, str]:
        """Return an image and its content type, whatever happens to the store.

        An object that the store does not have is no fault: the placeholder then is the right answer.
        """
        if not self._enabled:
            self._operations.labels("s3", "get", "disabled").inc()
            mark_degraded(FEATURE)
            return await self._local_or_placeholder(key)
        try:
            stored = await self._store.get(key)
        except ObjectMissingError:
            self._operations.labels("s3", "get", "missing").inc()
            return self._placeholder()
        except DependencyUnavailableError as unavailable:
            self._operations.labels("s3", "get", "error").inc()
            self._fallbacks.labels(DEPENDENCY, unavailable.reason).inc()
            mark_degraded(FEATURE)
            return await self._local_or_placeholder(key)
        self._operations.labels("s3", "get", "hit").inc()
        self._keep_copy(key, LocalObject(stored.data, stored.content_type, stored.etag))
        return stored.data, stored.content_type

    async def close(self) -> None:
        """Let the copies under way end, then let go of the threads."""
        if self._copies:
            await asyncio.wait(self._copies, timeout=1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _local_or_placeholder(self, key: str) -> tuple[bytes, str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._local.get, key)
        except ValueError:
            found = None  # a key that names no file
        if found is None:
            self._operations.labels("local", "get", "missing").inc()
            return self._placeholder()
        self._operations.labels("local", "get", "hit").inc()
        return found.data, found.content_type

    def _placeholder(self) -> tuple[bytes, str]:
        self._operations.labels("placeholder", "get", "hit").inc()
        return PLACEHOLDER, PLACEHOLDER_TYPE

    def _keep_copy(self, key: str, found: LocalObject) -> None:
        """Copy in the background what is not there yet; the answer does not wait for the disk."""
        if self._local.holds(key, found.etag) or len(self._copies) >= MAX_PENDING_COPIES:
            return
        task = asyncio.get_running_loop().create_task(self._copy(key, found))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _copy(self, key: str, found: LocalObject) -> None:
        loop = asyncio.get_running_loop()
        try:
            gone = await loop.run_in_executor(self._threads, self._local.put, key, found)
        except (OSError, ValueError):
            self._operations.labels("local", "put", "error").inc()
            log.debug("storage_copy_failed", key=key, exc_info=True)
            return
        self._operations.labels("local", "put", "ok").inc()
        if gone:
            self._operations.labels("local", "evict", "ok").inc(gone)
