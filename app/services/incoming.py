"""Where uploads land on the disk while they arrive: bounded, and nothing stays of one that does not arrive."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import structlog

from app.core.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

T = TypeVar("T")

FOLDER = "incoming"
SUFFIX = ".part"
# Each trip to a thread costs more than writing so little; each upload holds so much in memory.
BUFFER_BYTES = 256 * 1024
THREADS = 2
# Room that is left to the others on the disk.
KEEP_FREE_BYTES = 64 * 1024 * 1024
# A file is locked the moment after it is made; in between it must not be taken for an orphan.
MIN_AGE_S = 5.0
SWEEP_EVERY_S = 10.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

log = structlog.get_logger(component="storage")


class Part:
    """A file that arrives: written by pieces, with its size and its SHA-256 counted on the way."""

    def __init__(self, path: Path, descriptor: int, incoming: Incoming) -> None:
        self.path = path
        self.size_bytes = 0
        self._descriptor = descriptor
        self._incoming = incoming
        self._digest = hashlib.sha256()
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        """Take the next piece. Raises StorageFullError."""
        self.size_bytes += len(data)
        self._incoming.use(self)
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            await self._flush()

    async def finish(self) -> str:
        """Bring everything to the disk; return the SHA-256 of all, in hex. Raises StorageFullError."""
        await self._flush()
        await self._incoming.run(os.fsync, self._descriptor)
        return self._digest.hexdigest()

    async def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        await self._incoming.run(self._append, data)

    def _append(self, data: bytes) -> None:
        self._digest.update(data)
        disk = os.fstatvfs(self._descriptor)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < KEEP_FREE_BYTES + len(data):
            raise StorageFullError(self.size_bytes, free_bytes)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


class Incoming:
    """A folder of files that arrive, together never larger than `max_bytes`.

    Each is locked for as long as its upload lives, in whichever process that is: one that is not belongs to an upload
    whose process was killed.
    """

    def __init__(self, store: Path, max_bytes: int) -> None:
        """Use a folder in `store`; it is made when it is first needed."""
        self._folder = store / FOLDER
        self._max_bytes = max_bytes
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="incoming")
        self._used: dict[Part, int] = {}

    @asynccontextmanager
    async def part(self, expected_bytes: int) -> AsyncIterator[Part]:
        """Give a file that is removed at the end of the block, whatever happens. Raises StorageFullError."""
        part = self._made()
        try:
            self._used[part] = expected_bytes
            self.use(part)
            yield part
        finally:
            del self._used[part]
            # Not in a thread, as above: what is cancelled in between must not leave it behind.
            part.path.unlink(missing_ok=True)
            os.close(part._descriptor)  # noqa: SLF001 - it is the one who opened it

    def use(self, part: Part) -> None:
        """Count what `part` has grown to. Raises StorageFullError when all together are too large."""
        needed = self._used[part] = max(self._used[part], part.size_bytes)
        used = sum(self._used.values())
        if used > self._max_bytes:
            raise StorageFullError(needed, max(0, self._max_bytes - used + needed))

    async def run(self, fn: Callable[..., T], *arguments: object) -> T:
        """Run what the disk may hold up in a thread. A full disk is a StorageFullError."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, fn, *arguments)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFullError(BUFFER_BYTES, 0) from error
            raise

    async def sweep(self) -> int:
        """Remove the files of uploads whose process is gone; return how many."""
        return await self.run(sweep, self._folder)

    async def keep_swept(self) -> None:
        """Sweep now and then, until it is cancelled."""
        while True:
            try:
                await self.sweep()
            except OSError as error:
                log.warning("incoming_sweep_failed", error_type=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _made(self) -> Part:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid4()}{SUFFIX}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Part(path, descriptor, self)


def sweep(folder: Path, min_age_s: float = MIN_AGE_S) -> int:
    """Remove the files in `folder` that no living upload holds; return how many."""
    removed = 0
    for path in folder.glob(f"*{SUFFIX}"):
        # What is finished or gone meanwhile is somebody else's.
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= min_age_s:
                removed += _remove_orphan(path)
    if removed:
        log.info("incoming_swept", files=removed)
    return removed


def _remove_orphan(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
