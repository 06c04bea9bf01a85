"""Brings what waited on the local disk to the store: copied, read back, compared, and only then let go here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.object_file import DamagedError, checksum_of
from app.infrastructure.object_store import ObjectMissingError, ObjectStore

if TYPE_CHECKING:
    from app.core.metrics import Metrics
    from app.infrastructure.object_file import ObjectFile
    from app.services.copies import Copies
    from app.services.pins import Pins

log = structlog.get_logger(component="storage")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one pass did. What was verified and not unpinned has been written again meanwhile."""

    copied: int = 0
    verified: int = 0
    unpinned: int = 0
    failed: int = 0


class CopyBack:
    """Passes over the pins. Any number of processes may run them: each pin is worked on by one at a time."""

    def __init__(self, pins: Pins, copies: Copies, store: ObjectStore, metrics: Metrics) -> None:
        self._pins = pins
        self._copies = copies
        self._store = store
        self._operations = metrics.storage_operations_total

    async def run(self, limit: int) -> Reconciled:
        """Bring up to `limit` pins to the store, the longest waiting first; end early when the store is away."""
        await self._pins.sweep()
        done = Reconciled()
        for head in await self._pins.all(limit):
            try:
                async with self._pins.claimed(head.key) as claimed:
                    if claimed is not None:
                        done = await self._bring(claimed, done)
            except DependencyUnavailableError:
                return replace(done, failed=done.failed + 1)
            except (DamagedError, OSError, ObjectMissingError):
                log.exception("storage_copy_back_failed", key=head.key)
                done = replace(done, failed=done.failed + 1)
        return done

    async def _bring(self, pin: ObjectFile, done: Reconciled) -> Reconciled:
        head = pin.head
        if await self._pins.reading(partial(checksum_of, pin)) != head.checksum:
            raise DamagedError(f"the pin of {head.key!r} is not what was acknowledged")
        await self._put(pin)
        done = replace(done, copied=done.copied + 1)
        if not await self._is_there(pin):
            return replace(done, failed=done.failed + 1)
        done = replace(done, verified=done.verified + 1)
        unpinned = await self._pins.unpin(pin)
        if unpinned:
            self._copies.keep_file(head, pin.handle, pin.offset)
        return replace(done, unpinned=done.unpinned + bool(unpinned))

    async def _put(self, pin: ObjectFile) -> None:
        head = pin.head
        try:
            await self._store.put_file(
                head.key, pin.handle, head.content_type, head.checksum, offset=pin.offset
            )
        except DependencyUnavailableError:
            self._operations.labels("s3", "put", "error").inc()
            raise
        self._operations.labels("s3", "put", "ok").inc()

    async def _is_there(self, pin: ObjectFile) -> bool:
        """Read the object back from the store: what it answered to the upload proves nothing of its bytes."""
        head = pin.head
        try:
            stored = await self._store.digest(head.key, head.size)
        except DependencyUnavailableError:
            self._operations.labels("s3", "verify", "error").inc()
            raise
        same = (stored.size, stored.checksum) == (head.size, head.checksum)
        self._operations.labels("s3", "verify", "ok" if same else "mismatch").inc()
        if not same:
            log.error("storage_copy_differs", key=head.key, size=head.size, stored=stored.size)
        return same
