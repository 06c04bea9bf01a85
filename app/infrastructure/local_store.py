"""A bounded store of objects on the local disk: the least recently used goes first."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import orjson

_SUFFIX = ".object"


@dataclass(frozen=True, slots=True)
class LocalObject:
    """An object as a whole, with the etag that it had in the store it was copied from."""

    data: bytes
    content_type: str
    etag: str


class LocalStore:
    """Objects by key under `root`, together at most `max_bytes` on disk.

    One file each: a line of JSON about it, then its bytes, so that both are written at once. Blocking: call it from a
    thread. Safe to call from several. What was there before a restart is found again, oldest use first.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root.resolve()
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._etags: dict[Path, str] = {}
        self._total = 0
        self._root.mkdir(parents=True, exist_ok=True)
        self._find_what_is_there()

    @property
    def total_bytes(self) -> int:
        """How much disk the objects use."""
        return self._total

    def holds(self, key: str, etag: str) -> bool:
        """Return whether this very version is there, as far as this process has seen it."""
        return self._etags.get(self._path(key)) == etag

    def get(self, key: str) -> LocalObject | None:
        """Return the object, or None; a file that cannot be read counts as absent and is removed."""
        path = self._path(key)
        try:
            found = _parse(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            self._remove(path)
            return None
        with self._lock:
            if path in self._sizes:
                self._sizes.move_to_end(path)
                self._etags[path] = found.etag
        # The order of use must survive a restart.
        with suppress(OSError):
            os.utime(path)
        return found

    def put(self, key: str, found: LocalObject) -> int:
        """Keep the object; return how many others had to go. Raises ValueError when it is too large at all."""
        path = self._path(key)
        about = {
            "size": len(found.data),
            "content_type": found.content_type,
            "etag": found.etag,
        }
        content = orjson.dumps(about) + b"\n" + found.data
        if len(content) > self._max_bytes:
            raise ValueError(f"{key!r} takes {len(content)} bytes; the limit is {self._max_bytes}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, content)
        with self._lock:
            self._total += len(content) - self._sizes.pop(path, 0)
            self._sizes[path] = len(content)
            self._etags[path] = found.etag
            return self._evict()

    def _evict(self) -> int:
        gone = 0
        while self._total > self._max_bytes:
            path, size = self._sizes.popitem(last=False)
            self._etags.pop(path, None)
            self._total -= size
            path.unlink(missing_ok=True)
            gone += 1
        return gone

    def _remove(self, path: Path) -> None:
        with self._lock:
            self._total -= self._sizes.pop(path, 0)
            self._etags.pop(path, None)
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        """Return the file of `key`; a key that would lead out of the root is refused."""
        if key and "\0" not in key:
            path = (self._root / f"{key}{_SUFFIX}").resolve()
            if path.is_relative_to(self._root):
                return path
        raise ValueError(f"key {key!r} does not name a file inside the store")

    def _find_what_is_there(self) -> None:
        found = []
        for path in self._root.rglob("*"):
            if path.suffix == _SUFFIX and path.is_file():
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
            elif path.suffix == ".part":
                path.unlink(missing_ok=True)  # a write that a crash cut off
        for _, path, size in sorted(found):
            self._sizes[path] = size
            self._total += size
        self._evict()


def _parse(content: bytes) -> LocalObject:
    """Read an object's file; raise ValueError, KeyError or TypeError when it is damaged."""
    head, _, data = content.partition(b"\n")
    about = orjson.loads(head)
    if len(data) != about["size"]:
        raise ValueError(f"{len(data)} bytes where the head says {about['size']}")
    return LocalObject(data, about["content_type"], about["etag"])


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
