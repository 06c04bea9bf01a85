"""Objects as files on the local disk: a line of JSON about the object, then its bytes. All of it blocks.

One file holds both, so that a rename puts both in place at once, and no reader can see one without the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX = ".object"
PART_SUFFIX = ".part"
MAX_HEAD_BYTES = 4096
MAX_KEY_LENGTH = 512
COPY_BYTES = 1024 * 1024
LOCK_WITHIN_S = 2.0
LOCK_POLL_S = 0.002


class DamagedError(Exception):
    """A file's bytes are not what is said of them: a disk that lies, or a hand in the folder."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says about its object.

    `checksum` is its SHA-256 in hex; in a copy of an object that was stored without one, the store's etag.
    """

    key: str
    size: int
    content_type: str
    checksum: str

    def line(self) -> bytes:
        """Return the file's first line."""
        line = orjson.dumps(asdict(self)) + b"\n"
        if len(line) > MAX_HEAD_BYTES:
            raise ValueError(f"what is said about {self.key[:64]!r} takes {len(line)} bytes")
        return line


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """An open file; until it is closed it can be read, also when its name is gone."""

    handle: int
    head: Head
    offset: int

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` bytes of the object from `start` on. Raises OSError when there are fewer."""
        length = min(length, self.head.size - start)
        data = os.pread(self.handle, max(0, length), self.offset + start)
        if len(data) < length:
            raise OSError(f"{self.head.key!r} is shorter than its head says")
        return data

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.handle)


def check_key(key: str) -> str:
    """Return the key. Raises ValueError for one that could lead out of a folder."""
    parts = key.split("/")
    if "\0" in key or len(key) > MAX_KEY_LENGTH or not all(parts) or {".", ".."} & {*parts}:
        raise ValueError(f"key {key[:64]!r} does not name a file inside the store")
    return key


def open_object(path: Path) -> ObjectFile:
    """Open an object's file; close it. Raises FileNotFoundError, DamagedError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return _parse(handle)
    except BaseException:
        os.close(handle)
        raise


def _parse(handle: int) -> ObjectFile:
    line, end, _ = os.pread(handle, MAX_HEAD_BYTES, 0).partition(b"\n")
    offset = len(line) + len(end)
    try:
        head = Head(**orjson.loads(line))
    except (ValueError, TypeError) as error:
        raise DamagedError(f"an object's file has no head: {error}") from error
    whole = os.fstat(handle).st_size - offset
    if not end or head.size != whole:
        raise DamagedError(f"an object's file has {whole} bytes where its head says {head.size}")
    return ObjectFile(handle, head, offset)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one, of all threads and processes, to change what is in `folder`. For moments, not for copying.

    Raises TimeoutError: a process that is paused just now would hold everybody else.
    """
    give_up = time.monotonic() + LOCK_WITHIN_S
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not take(handle):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{folder} was locked for {LOCK_WITHIN_S:g} s")
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(handle)


def take(handle: int) -> bool:
    """Mark an open file as in use, until it is closed or its process ends; tell whether nobody else had."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reserve(handle: int, size: int) -> None:
    """Take the room on the disk now, so that a full disk shows before anything is written. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)


def remove_if_left(part: Path) -> bool:
    """Remove what a writer left that was killed; one that lives holds its file. Call it under the folder's lock."""
    try:
        handle = os.open(part, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        left = take(handle)
        if left:
            part.unlink(missing_ok=True)
        return left
    finally:
        os.close(handle)


def checksum_of(found: ObjectFile) -> str:
    """Return the SHA-256 of an object's bytes as they are on the disk, in hex."""
    digest = hashlib.sha256()
    for start in range(0, found.head.size, COPY_BYTES):
        digest.update(found.read(start, COPY_BYTES))
    return digest.hexdigest()


def write_object(handle: int, head: Head, source: int, offset: int) -> None:
    """Copy an object's bytes in pieces from open file `source`, and check on the way that they are what `head` says.

    Raises DamagedError, OSError.
    """
    line = head.line()
    write_all(handle, line, 0)
    digest, at = hashlib.sha256(), 0
    while data := os.pread(source, COPY_BYTES, offset + at):
        digest.update(data)
        if at + len(data) > head.size:
            break
        write_all(handle, data, len(line) + at)
        at += len(data)
    if at != head.size or digest.hexdigest() != head.checksum:
        raise DamagedError(f"the bytes of {head.key!r} are not what was announced")


def write_all(handle: int, data: bytes, at: int) -> None:
    """Write bytes at a place of an open file, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(handle, rest, at)
        rest, at = rest[written:], at + written
