"""The S3 store, through the `minio` client in threads of its own.

Every call has socket limits and a limit in total. Large objects move in pieces: no call holds more than one of them,
and no thread waits for a client that reads slowly.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

from minio.error import S3Error

from app.core.resilience.breaker import BreakerConfig
from app.core.resilience.bulkhead import Bulkhead
from app.core.resilience.guard import Guard, build_guard
from app.infrastructure.object_client import (
    FileBody,
    ObjectMissingError,
    RangeError,
    Transfer,
    classify_s3,
    current_transfer,
    make_client,
    transfer_allowance_s,
)
from app.infrastructure.object_lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.core.resilience.guard import GuardGauge

__all__ = ["ObjectMissingError", "ObjectStore", "RangeError", "classify_s3", "object_store_guard"]

DEPENDENCY = "s3"

CALL_TIMEOUT_S = 0.75  # in total, of a call that moves little
MAX_CONCURRENT = 8
# More threads than the bulkhead lets in: these stand in while others are still stuck in calls given up.
MAX_THREADS = 12
MAX_READS, READ_THREADS = 8, 12
MAX_UPLOADS, UPLOAD_THREADS = 4, 6
MAX_OBJECT_BYTES = 8 * 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
MAX_LISTED = 1000
OCTETS = "application/octet-stream"
CHECKSUM_HEADER = "x-amz-meta-sha256"

BREAKER = BreakerConfig(
    window=20,
    minimum_calls=10,
    failure_rate=0.5,
    slow_call_s=0.5,
    slow_call_rate=0.8,
    open_s=1.0,
    half_open_calls=3,
)

_PLACE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known about an object. `etag` is its SHA-256 in hex where it was stored with one."""

    size: int
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a whole."""

    data: bytes
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an object, and what is known about the whole."""

    data: bytes
    whole: ObjectInfo


@dataclass(frozen=True, slots=True)
class Digest:
    """What an object in the store really is: its bytes were read."""

    size: int
    checksum: str


def object_store_guard(metrics: Metrics) -> Guard:
    """Build the guard of the store."""
    return build_guard(
        DEPENDENCY,
        timeout_s=CALL_TIMEOUT_S,
        breaker=BREAKER,
        max_concurrent=MAX_CONCURRENT,
        max_waiting=2 * MAX_CONCURRENT,
        max_wait_s=0.1,
        classify=classify_s3,
        gauge=metrics,
    )


class ObjectStore:
    """Objects by key in one bucket. Counting and fallbacks are the storage service's."""

    def __init__(self, settings: Settings, guard: Guard, gauge: GuardGauge | None = None) -> None:
        """`gauge` shows the places for reads of pieces and for uploads, which are beside those of `guard`."""
        self._bucket = settings.s3_bucket
        threads = MAX_THREADS + READ_THREADS + UPLOAD_THREADS
        self._client = make_client(settings, connections=threads)
        reads = Bulkhead(f"{DEPENDENCY}-reads", MAX_READS, 8 * MAX_READS, max_wait_s=0.5)
        uploads = Bulkhead(f"{DEPENDENCY}-uploads", MAX_UPLOADS, 8 * MAX_UPLOADS, max_wait_s=1.0)
        self._calls = Lane(DEPENDENCY, guard, MAX_THREADS)
        self._reads = Lane(reads.name, guard.beside(reads), READ_THREADS)
        self._uploads = Lane(uploads.name, guard.beside(uploads), UPLOAD_THREADS)
        if gauge is not None:
            for each in (reads, uploads):
                gauge.watch_bulkhead(
                    each.name,
                    in_flight=partial(getattr, each, "in_flight"),
                    waiting=partial(getattr, each, "waiting"),
                )
        self._ping_client = make_client(settings, connections=1)
        self._ping_threads = ThreadPoolExecutor(1, thread_name_prefix="s3-ping")
        self._ping_running = False

    async def get(self, key: str) -> StoredObject:
        """Return a small object as a whole. Raises ObjectMissingError, DependencyUnavailableError."""
        return await self._calls.call(partial(self._get, key), probe_beside=True)

    async def read(self, key: str, start: int, length: int) -> Piece:
        """Return up to `length` bytes, of at most MAX_OBJECT_BYTES, from `start` on.

        Raises ObjectMissingError, RangeError, DependencyUnavailableError.
        """
        return await self._reads.call(partial(self._read, key, start, length), probe_beside=True)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store the object as a whole; when this returns it is durable. Raises DependencyUnavailableError."""
        work = partial(
            self._client.put_object,
            self._bucket,
            key,
            BytesIO(data),
            len(data),
            content_type=content_type,
        )
        await self._calls.call(work)

    async def put_file(
        self, key: str, handle: int, content_type: str, checksum: str, *, offset: int = 0
    ) -> None:
        """Store an open file's bytes from `offset` on; when this returns they are durable.

        `handle` stays the caller's, and may be closed once this has returned, whatever the thread still does. The limit
        grows with the size; while the breaker is not closed nobody waits. Raises DependencyUnavailableError.
        """
        size = os.fstat(handle).st_size - offset
        allowance_s = transfer_allowance_s(size)
        transfer = Transfer(time.monotonic() + CALL_TIMEOUT_S + allowance_s, size)
        body = FileBody(handle, offset, transfer)
        work = partial(self._put_file, key, body, content_type, checksum)
        try:
            await self._uploads.call(work, probe=self._bucket_exists, allowance_s=allowance_s)
        finally:
            body.leave()

    async def digest(self, key: str, size: int) -> Digest:
        """Read the whole object, of about `size` bytes. Raises ObjectMissingError, DependencyUnavailableError."""
        allowance_s = transfer_allowance_s(size)
        transfer = Transfer(time.monotonic() + CALL_TIMEOUT_S + allowance_s, size)
        try:
            work = partial(self._digest, key, transfer)
            return await self._uploads.call(
                work, probe=self._bucket_exists, allowance_s=allowance_s
            )
        finally:
            transfer.given_up = True

    async def stat(self, key: str) -> ObjectInfo:
        """Return what is known about the object. Raises ObjectMissingError, DependencyUnavailableError."""
        return await self._reads.call(partial(self._stat, key), probe_beside=True)

    async def exists(self, key: str) -> bool:
        """Return whether the store has the object. Raises DependencyUnavailableError."""
        try:
            await self._calls.call(partial(self._stat, key))
        except ObjectMissingError:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Remove the object; that it is not there is no error. Raises DependencyUnavailableError."""
        work = partial(self._client.remove_object, self._bucket, key)
        await self._calls.call(work, probe=self._bucket_exists)

    async def keys(self, prefix: str, *, after: str = "", limit: int = MAX_LISTED) -> list[str]:
        """Return up to `limit` keys that begin with `prefix` and come after `after`, in order.

        Raises DependencyUnavailableError.
        """
        work = partial(self._keys, prefix, after, min(limit, MAX_LISTED))
        return await self._calls.call(work, probe_beside=True)

    async def ping(self) -> None:
        """Ask for the bucket on a connection and thread of its own, outside the guard; raise what went wrong."""
        if self._ping_running:
            raise TimeoutError("the check before this one has not ended yet")
        self._ping_running = True
        future = self._ping_threads.submit(self._ping_client.bucket_exists, self._bucket)
        waiting = asyncio.wrap_future(future)
        future.add_done_callback(self._ping_ended)
        if not await waiting:
            raise ObjectMissingError(self._bucket)

    async def ensure_bucket(self) -> None:
        """Create the bucket unless it is there."""

        def ensure() -> None:
            if not self._bucket_exists():
                self._client.make_bucket(self._bucket)

        await self._calls.call(ensure)

    async def close(self) -> None:
        """Let go of the threads; one that is stuck ends with its socket's limit."""
        for lane in (self._calls, self._reads, self._uploads):
            lane.close()
        self._ping_threads.shutdown(wait=False, cancel_futures=True)

    def _ping_ended(self, _future: object) -> None:
        self._ping_running = False

    def _bucket_exists(self) -> bool:
        return self._client.bucket_exists(self._bucket)

    def _get(self, key: str) -> StoredObject:
        ends_at = time.monotonic() + CALL_TIMEOUT_S
        response = self._open(key, partial(self._client.get_object, self._bucket, key))
        data = _read_all(response, key, ends_at)
        return StoredObject(data, _content_type(response.headers), _etag(response.headers))

    def _read(self, key: str, start: int, length: int) -> Piece:
        ends_at = time.monotonic() + CALL_TIMEOUT_S
        ask = partial(self._client.get_object, self._bucket, key, offset=start, length=length)
        response = self._open(key, ask, start=start)
        data = _read_all(response, key, ends_at)
        size = _whole_size(response.headers, start, len(data))
        whole = ObjectInfo(size, _content_type(response.headers), _etag(response.headers))
        return Piece(data, whole)

    def _open(
        self, key: str, ask: Callable[[], BaseHTTPResponse], *, start: int = 0
    ) -> BaseHTTPResponse:
        try:
            return ask()
        except S3Error as error:
            if error.code in _MISSING:
                raise ObjectMissingError(key) from error
            if error.code == "InvalidRange":
                raise RangeError(key, start) from error
            raise

    def _stat(self, key: str) -> ObjectInfo:
        try:
            found = self._client.stat_object(self._bucket, key)
        except S3Error as error:
            if error.code in _MISSING:
                raise ObjectMissingError(key) from error
            raise
        etag = (found.metadata or {}).get(CHECKSUM_HEADER) or found.etag or ""
        return ObjectInfo(found.size or 0, found.content_type or OCTETS, etag)

    def _put_file(self, key: str, body: FileBody, content_type: str, checksum: str) -> None:
        current_transfer.set(body.transfer)
        self._client.put_object(
            self._bucket,
            key,
            body,  # type: ignore[arg-type] # of a file only `read` is used
            body.transfer.size,
            content_type=content_type,
            metadata={"sha256": checksum},
            part_size=PART_BYTES,
            num_parallel_uploads=1,
        )

    def _digest(self, key: str, transfer: Transfer) -> Digest:
        current_transfer.set(transfer)
        response = self._open(key, partial(self._client.get_object, self._bucket, key))
        size, digest = 0, hashlib.sha256()
        with _released(response):
            for chunk in response.stream(CHUNK_BYTES):
                transfer.check()
                digest.update(chunk)
                size += len(chunk)
        return Digest(size, digest.hexdigest())

    def _keys(self, prefix: str, after: str, limit: int) -> list[str]:
        found = self._client.list_objects(
            self._bucket, prefix=prefix, recursive=True, start_after=after or None
        )
        return [each.object_name for each in islice(found, limit) if each.object_name is not None]


@contextmanager
def _released(response: BaseHTTPResponse) -> Iterator[None]:
    """Give the connection back at the end; one that was half-read is of no more use and is closed."""
    try:
        yield
    except BaseException:
        response.close()
        raise
    finally:
        response.release_conn()


def _read_all(response: BaseHTTPResponse, key: str, ends_at: float) -> bytes:
    """Read the body within bounds of size and time.

    The socket's limit is per piece; a store that drips would hold the thread for as long as it likes.
    """
    data = bytearray()
    with _released(response):
        for chunk in response.stream(CHUNK_BYTES):
            data += chunk
            if len(data) > MAX_OBJECT_BYTES:
                raise ValueError(f"object {key!r} is larger than {MAX_OBJECT_BYTES} bytes")
            if time.monotonic() > ends_at:
                raise TimeoutError(f"object {key!r} did not arrive within {CALL_TIMEOUT_S} s")
    return bytes(data)


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", OCTETS)


def _etag(headers: Mapping[str, str]) -> str:
    return headers.get(CHECKSUM_HEADER) or headers.get("ETag", "").strip('"')


def _whole_size(headers: Mapping[str, str], start: int, length: int) -> int:
    """Return how long the object is of which this answer is a part."""
    place = _PLACE.fullmatch(headers.get("Content-Range", ""))
    if place is None or int(place[1]) != start or int(place[2]) != start + length - 1:
        raise OSError(f"the store answered another range than {length} bytes from {start} on")
    return int(place[3])
