"""The S3 store, through the `minio` client in a thread pool of its own.

A thread in a blocking call cannot be cancelled: it is held until its socket gives up. So every call has socket limits
and a limit in total, and a call that its caller has given up still counts as busy until its thread is really free.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from app.core.outgoing import outgoing_headers
from app.core.resilience.breaker import BreakerConfig
from app.core.resilience.bulkhead import BulkheadFullError
from app.core.resilience.guard import Guard, Reason, build_guard, causes, classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse

    from app.core.config import Settings
    from app.core.metrics import Metrics

T = TypeVar("T")

DEPENDENCY = "s3"

CONNECT_TIMEOUT_S = 0.25
READ_TIMEOUT_S = 0.5  # between two pieces of an answer
CALL_TIMEOUT_S = 0.75  # in total
MAX_CONCURRENT = 8
# More threads than the bulkhead lets in: these stand in while others are still stuck in calls given up.
MAX_THREADS = 12
MAX_OBJECT_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
REGION = "us-east-1"  # named, so that the client never asks where the bucket is

BREAKER = BreakerConfig(
    window=20,
    minimum_calls=10,
    failure_rate=0.5,
    slow_call_s=0.5,
    slow_call_rate=0.8,
    open_s=1.0,
    half_open_calls=3,
)

_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})


class ObjectMissingError(Exception):
    """The store is well and has no such object."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no object {key!r} in the store")
        self.key = key


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a whole."""

    data: bytes
    content_type: str
    etag: str


def classify_s3(error: Exception) -> Reason | None:
    """Name why the store failed; None for an answer that is about the request, such as a missing object."""
    if isinstance(error, ObjectMissingError):
        return None  # although an error of the client stands behind it
    if isinstance(error, BulkheadFullError):
        return Reason.BULKHEAD_FULL
    for link in causes(error):
        reason = _reason_of(link)
        if reason is not None:
            return reason
    return classify(error)


def _reason_of(link: BaseException) -> Reason | None:
    if isinstance(link, ReadTimeoutError | ConnectTimeoutError) and not isinstance(
        link, NewConnectionError
    ):
        return Reason.TIMEOUT
    if isinstance(link, NewConnectionError):
        return Reason.REFUSED
    if isinstance(link, MaxRetryError) and link.reason is not None:
        return _reason_of(link.reason)
    if isinstance(link, ProtocolError):
        return Reason.RESET
    if isinstance(link, ServerError | InvalidResponseError | HTTPError | S3Error):
        return Reason.ERROR
    return None


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


class _CorrelatedPool(urllib3.PoolManager):
    """Sends the ids of the current request along. The signature does not cover them, so S3 takes no notice."""

    def urlopen(  # type: ignore[override] # the base class narrows its own base likewise
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: FBT001, FBT002 - urllib3's own form
        **options: Any,  # noqa: ANN401 - passed on as they came
    ) -> BaseHTTPResponse:
        """Send a request."""
        options["headers"] = {**(options.get("headers") or {}), **outgoing_headers()}
        return super().urlopen(method, url, redirect, **options)


def make_client(settings: Settings, *, connections: int) -> Minio:
    """Build a client whose every wait has a limit and that never tries twice."""
    pool = _CorrelatedPool(
        num_pools=1,
        maxsize=connections,
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        retries=urllib3.Retry(total=0, connect=0, read=0, redirect=0, status=0, other=0),
    )
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        region=REGION,
        http_client=pool,
    )


class ObjectStore:
    """Objects by key in one bucket. Counting and fallbacks are the storage service's."""

    def __init__(self, settings: Settings, guard: Guard) -> None:
        self._guard = guard
        self._bucket = settings.s3_bucket
        self._client = make_client(settings, connections=MAX_THREADS)
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="s3")
        self._busy = 0
        self._ping_client = make_client(settings, connections=1)
        self._ping_threads = ThreadPoolExecutor(1, thread_name_prefix="s3-ping")
        self._ping_running = False

    async def get(self, key: str) -> StoredObject:
        """Return the object. Raises ObjectMissingError, DependencyUnavailableError."""
        work = partial(self._in_thread, partial(self._get, key))
        return await self._guard.call(work, probe_beside=True)

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
        await self._guard.call(partial(self._in_thread, work))

    async def exists(self, key: str) -> bool:
        """Return whether the store has the object. Raises DependencyUnavailableError."""
        return await self._guard.call(partial(self._in_thread, partial(self._exists, key)))

    async def ping(self) -> None:
        """Ask for the bucket on a connection and thread of its own, outside the guard; raise what went wrong."""
        if self._ping_running:
            raise TimeoutError("the check before this one has not ended yet")
        self._ping_running = True
        future = self._ping_threads.submit(self._client_has_bucket)
        waiting = asyncio.wrap_future(future)
        future.add_done_callback(self._ping_ended)
        if not await waiting:
            raise ObjectMissingError(self._bucket)

    async def ensure_bucket(self) -> None:
        """Create the bucket unless it is there."""

        def ensure() -> None:
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

        await self._guard.call(partial(self._in_thread, ensure))

    async def close(self) -> None:
        """Let go of the threads; one that is stuck ends with its socket's limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._ping_threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._busy >= MAX_THREADS:
            raise BulkheadFullError(f"{DEPENDENCY} threads", MAX_THREADS)
        loop = asyncio.get_running_loop()
        # The thread works for the request that asked, and says so in what it sends.
        future = self._threads.submit(copy_context().run, work)
        self._busy += 1
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._thread_freed))
        return await asyncio.wrap_future(future)

    def _thread_freed(self) -> None:
        self._busy -= 1

    def _ping_ended(self, _future: object) -> None:
        self._ping_running = False

    def _client_has_bucket(self) -> bool:
        return self._ping_client.bucket_exists(self._bucket)

    def _get(self, key: str) -> StoredObject:
        ends_at = time.monotonic() + CALL_TIMEOUT_S
        try:
            response = self._client.get_object(self._bucket, key)
        except S3Error as error:
            if error.code in _MISSING:
                raise ObjectMissingError(key) from error
            raise
        try:
            return StoredObject(
                _read_all(response, key, ends_at),
                response.headers.get("Content-Type", "application/octet-stream"),
                response.headers.get("ETag", "").strip('"'),
            )
        except BaseException:
            response.close()  # half-read: the connection is of no more use
            raise
        finally:
            response.release_conn()

    def _exists(self, key: str) -> bool:
        try:
            self._client.stat_object(self._bucket, key)
        except S3Error as error:
            if error.code in _MISSING:
                return False
            raise
        return True


def _read_all(response: BaseHTTPResponse, key: str, ends_at: float) -> bytes:
    """Read the body within bounds of size and time.

    The socket's limit is per piece; a store that drips would hold the thread for as long as it likes.
    """
    data = bytearray()
    for chunk in response.stream(CHUNK_BYTES):
        data += chunk
        if len(data) > MAX_OBJECT_BYTES:
            raise ValueError(f"object {key!r} is larger than {MAX_OBJECT_BYTES} bytes")
        if time.monotonic() > ends_at:
            raise TimeoutError(f"object {key!r} did not arrive within {CALL_TIMEOUT_S} s")
    return bytes(data)
