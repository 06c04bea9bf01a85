"""A bounded folder on the local disk: pins, which stay until they are unpinned; copies, which make room for them."""

from __future__ import annotations

import os
import tempfile
import time
from collections import OrderedDict
from contextlib import closing, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from app.infrastructure.object_file import (
    PART_SUFFIX,
    SUFFIX,
    DamagedError,
    Head,
    check_key,
    locked,
    open_object,
    remove_if_left,
    take,
    write_all,
    write_object,
)
from app.infrastructure.pin_store import PinStore

if TYPE_CHECKING:
    from collections.abc import Callable

RESCAN_S = 5.0


@dataclass(frozen=True, slots=True)
class LocalObject:
    """An object as a whole, with the etag that it had in the store it was copied from."""

    data: bytes
    content_type: str
    etag: str


class LocalStore:
    """Copies of objects by key under `root`/copies, the least recently used out first; beside them `pins`.

    Pins and copies together take at most `max_bytes`. Blocking: call it from a thread. Threads and processes may share
    the folder. What other processes copied is looked up again when the last look was longer ago than `rescan_s`: only
    their copies of these moments can be over the limit. What is pinned is looked up each time.
    """

    def __init__(
        self,
        root: Path,
        max_bytes: int,
        *,
        rescan_s: float = RESCAN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root.resolve()
        self._folder = self._root / "copies"
        self._max_bytes = max_bytes
        self._rescan_s = rescan_s
        self._clock = clock
        self._lock = Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._etags: dict[str, str] = {}
        self._total = 0
        self._scanned_at = -inf
        self._folder.mkdir(parents=True, exist_ok=True)
        self.pins = PinStore(self._root, max_bytes, self._shrink)
        with locked(self._root):
            for part in self._folder.rglob(f"*{PART_SUFFIX}"):
                remove_if_left(part)
            self._shrink(self.free_bytes())

    @property
    def total_bytes(self) -> int:
        """How much disk the copies use, as far as this process has seen."""
        return self._total

    def free_bytes(self) -> int:
        """Return how much could be pinned now."""
        return self._max_bytes - self.pins.used_bytes()

    def holds(self, key: str, etag: str) -> bool:
        """Return whether this very version is there, as far as this process has seen it. Does not block."""
        return self._etags.get(key) == etag

    def get(self, key: str) -> LocalObject | None:
        """Return the copy, or None; a file that cannot be read counts as absent and is removed."""
        found = self.read(key, 0, self._max_bytes)
        if found is None:
            return None
        head, data = found
        return LocalObject(data, head.content_type, head.checksum)

    def read(self, key: str, start: int, length: int) -> tuple[Head, bytes] | None:
        """Return up to `length` bytes of the copy from `start` on, or None; see `get`."""
        path = self._path(key)
        try:
            with closing(open_object(path)) as file:
                found = file.head, file.read(start, length)
        except FileNotFoundError:
            return None
        except (OSError, DamagedError):
            self.remove(key)
            return None
        with self._lock:
            if key in self._sizes:
                self._sizes.move_to_end(key)
                self._etags[key] = found[0].checksum
        # The order of use must survive a restart, and is that of all processes.
        with suppress(OSError):
            _touch(path)
        return found

    def put(self, key: str, found: LocalObject) -> int:
        """Keep a copy; return how many others had to go. Raises ValueError when it is too large at all, OSError."""
        head = Head(key, len(found.data), found.content_type, found.etag)
        return self._keep(head, lambda handle: write_all(handle, head.line() + found.data, 0))

    def copy(self, head: Head, source: int, offset: int = 0) -> int:
        """Keep a copy of the bytes of open file `source` from `offset` on; see `put`. Raises DamagedError, too."""
        return self._keep(head, lambda handle: write_object(handle, head, source, offset))

    def _keep(self, head: Head, write: Callable[[int], None]) -> int:
        path, limit = self._path(head.key), self.free_bytes()
        size = len(head.line()) + head.size
        if size > limit:
            raise ValueError(f"{head.key!r} takes {size} bytes; the limit is {limit}")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _written_beside(path, write)
        with locked(self._root):
            part.replace(path)
            _touch(path)
            with self._lock:
                self._total += size - self._sizes.pop(head.key, 0)
                self._sizes[head.key] = size
                self._etags[head.key] = head.checksum
            return self._shrink(self.free_bytes())

    def remove(self, key: str) -> None:
        """Remove the copy, if there is one."""
        path = self._path(key)
        with self._lock:
            self._total -= self._sizes.pop(key, 0)
            self._etags.pop(key, None)
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _shrink(self, limit: int) -> int:
        """Let copies take at most `limit` bytes, all processes' together; return how many went."""
        if self._clock() - self._scanned_at >= self._rescan_s:
            self._scan()
        gone = 0
        with self._lock:
            while self._total > limit and self._sizes:
                key, size = self._sizes.popitem(last=False)
                self._etags.pop(key, None)
                self._total -= size
                self._path(key).unlink(missing_ok=True)
                gone += 1
        return gone

    def _path(self, key: str) -> Path:
        """Return the file of `key`; a key that would lead out of the root, also by a link, is refused."""
        path = (self._folder / f"{check_key(key)}{SUFFIX}").resolve()
        if not path.is_relative_to(self._folder):
            raise ValueError(f"key {key[:64]!r} does not name a file inside the store")
        return path

    def _scan(self) -> None:
        """See what is there, of whatever process, in the order of its last use."""
        found: list[tuple[int, str, int]] = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                if name.endswith(SUFFIX):
                    with suppress(FileNotFoundError):
                        path = f"{folder}/{name}"
                        status = os.stat(path)  # noqa: PTH116 - thousands of paths
                        key = path[len(str(self._folder)) + 1 : -len(SUFFIX)]
                        found.append((status.st_mtime_ns, key, status.st_size))
        with self._lock:
            self._sizes = OrderedDict((key, size) for _, key, size in sorted(found))
            self._total = sum(self._sizes.values())
            self._etags = {key: etag for key, etag in self._etags.items() if key in self._sizes}
        self._scanned_at = self._clock()


def _touch(path: Path) -> None:
    """Set the time of last use, finer than the file system's own clock."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def _written_beside(path: Path, write: Callable[[int], None]) -> Path:
    """Write a file that a rename can put in place: a reader sees the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(PART_SUFFIX, dir=path.parent)
    part = Path(name)
    try:
        take(handle)
        write(handle)
        os.fsync(handle)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return part
