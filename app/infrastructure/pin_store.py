"""Objects that wait on the local disk for the object store. What is here was acknowledged, so it must not be lost.

The folder is shared: every process on it sees the same pins, and what is true of them stands on the disk alone.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.errors import StorageFullError
from app.infrastructure.object_file import (
    PART_SUFFIX,
    SUFFIX,
    DamagedError,
    Head,
    ObjectFile,
    check_key,
    locked,
    open_object,
    remove_if_left,
    reserve,
    sync_folder,
    take,
    write_object,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Spool:
    """How much waits."""

    files: int
    size_bytes: int


class PinStore:
    """Pins under `root`/pinned, one file a key. Blocking: call it from a thread, and from as many as you like."""

    def __init__(self, root: Path, max_bytes: int, make_room: Callable[[int], object]) -> None:
        """`make_room(limit)` is called, under the folder's lock, to let copies take at most so many bytes."""
        self._root = root.resolve()
        self._folder = self._root / "pinned"
        self._max_bytes = max_bytes
        self._make_room = make_room
        self._folder.mkdir(parents=True, exist_ok=True)
        self.sweep()

    def pin(self, head: Head, source: int, offset: int = 0) -> None:
        """Write the object from open file `source`; when this returns it is durable and outlives anything.

        Raises StorageFullError, DamagedError when the bytes are not those of `head`, OSError.
        """
        path = self._path(head.key)
        handle, part = self._begin(path.stem, len(head.line()) + head.size)
        try:
            write_object(handle, head, source, offset)
            os.fsync(handle)
            with locked(self._root):
                part.replace(path)
            sync_folder(self._folder)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)

    def read(self, key: str, start: int, length: int) -> tuple[Head, bytes] | None:
        """Return up to `length` bytes of a pinned object, or None. Raises DamagedError, OSError."""
        found = self._open(key)
        if found is None:
            return None
        with closing(found):
            return found.head, found.read(start, length)

    def holds(self, key: str) -> bool:
        """Return whether the object is pinned."""
        return self._path(key).exists()

    def remove(self, key: str) -> bool:
        """Let a pin go that nobody can claim, being damaged; tell whether it was there. That it is gone is durable."""
        path = self._path(key)
        with locked(self._root):
            if not path.exists():
                return False
            path.unlink()
        sync_folder(self._folder)
        return True

    def claim(self, key: str) -> ObjectFile | None:
        """Open a pin for the one who is to copy it away or to delete it; None when it is gone or another has it.

        Nobody else claims or unpins this file until it is closed.

        Raises DamagedError.
        """
        found = self._open(key)
        if found is None:
            return None
        # One without a name was unpinned or written again between its opening and here.
        if not take(found.handle) or os.fstat(found.handle).st_nlink == 0:
            found.close()
            return None
        return found

    def unpin(self, claimed: ObjectFile) -> bool | None:
        """Remove the very file that was claimed; False when it has been written again, None when it is gone."""
        path = self._path(claimed.head.key)
        with locked(self._root):
            try:
                now = path.stat()
            except FileNotFoundError:
                return None
            mine = os.fstat(claimed.handle)
            if (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev):
                return False
            path.unlink()
        sync_folder(self._folder)
        return True

    def all(self, limit: int | None = None) -> list[Head]:
        """Return what is pinned, the longest waiting first; what cannot be read is left out."""
        heads: list[Head] = []
        for _, path in sorted((status.st_mtime_ns, path) for path, status in self._files(SUFFIX)):
            if limit is not None and len(heads) >= limit:
                break
            with suppress(OSError, DamagedError), closing(open_object(path)) as found:
                heads.append(found.head)
        return heads

    def spool(self) -> Spool:
        """Return how much waits."""
        sizes = [status.st_size for _, status in self._files(SUFFIX)]
        return Spool(len(sizes), sum(sizes))

    def used_bytes(self) -> int:
        """Return what pins take, with those being written."""
        return sum(status.st_size for _, status in self._files(SUFFIX, PART_SUFFIX))

    def sweep(self) -> int:
        """Remove what writers left that were killed; return how many files."""
        with locked(self._root):
            return sum(remove_if_left(path) for path, _ in self._files(PART_SUFFIX))

    def _begin(self, name: str, size: int) -> tuple[int, Path]:
        """Open a file that has its room already, so that others see it taken. Raises StorageFullError."""
        with locked(self._root):
            free = self._max_bytes - self.used_bytes()
            if size > free:
                raise StorageFullError(size, max(0, free))
            self._make_room(free - size)
            handle, name = tempfile.mkstemp(PART_SUFFIX, f"{name}.", self._folder)
            try:
                take(handle)
                reserve(handle, size)
            except OSError as error:
                os.close(handle)
                Path(name).unlink()
                if error.errno in {ENOSPC, EDQUOT}:
                    raise StorageFullError(size, 0) from error
                raise
            return handle, Path(name)

    def _files(self, *suffixes: str) -> Iterator[tuple[Path, os.stat_result]]:
        for entry in os.scandir(self._folder):
            if entry.name.endswith(suffixes):
                # It may have been copied away just now.
                with suppress(FileNotFoundError):
                    yield Path(entry.path), entry.stat()

    def _open(self, key: str) -> ObjectFile | None:
        try:
            return open_object(self._path(key))
        except FileNotFoundError:
            return None

    def _path(self, key: str) -> Path:
        """Return the file of `key`: named by its hash, so that no key can lead anywhere else."""
        return self._folder / f"{hashlib.sha256(check_key(key).encode()).hexdigest()}{SUFFIX}"
