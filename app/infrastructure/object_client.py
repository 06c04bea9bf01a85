"""The `minio` client with limits on every wait, and what its errors mean."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

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
from app.core.resilience.bulkhead import BulkheadFullError
from app.core.resilience.guard import Reason, causes, classify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from app.core.config import Settings

CONNECT_TIMEOUT_S = 0.25
READ_TIMEOUT_S = 0.5  # between two pieces of an answer
SEND_BYTES = 64 * 1024
# What a store that is well takes at least, also on a machine that is busy; slower counts as away.
TRANSFER_BYTES_PER_S = 16 * 1024 * 1024
REGION = "us-east-1"  # named, so that the client never asks where the bucket is


class ObjectMissingError(Exception):
    """The store is well and has no such object."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no object {key!r} in the store")
        self.key = key


class RangeError(Exception):
    """The object is there and ends before the first byte that was asked for."""

    def __init__(self, key: str, start: int) -> None:
        super().__init__(f"object {key!r} ends before byte {start}")
        self.key = key


def transfer_allowance_s(size: int) -> float:
    """Return how much longer than others a call may take that moves `size` bytes."""
    return size / TRANSFER_BYTES_PER_S


@dataclass(slots=True)
class Transfer:
    """An upload under way in a thread, which its caller can end: nothing else can stop a thread."""

    ends_at: float
    size: int
    given_up: bool = False

    def check(self) -> None:
        """Raise TimeoutError when there is no more reason to go on."""
        if self.given_up or time.monotonic() > self.ends_at:
            raise TimeoutError("the transfer's time is over")

    def options(self, method: str, body: object) -> dict[str, Any]:
        """Return what a request of this transfer is sent with: a body in pieces, and limits that fit its work."""
        # A POST asks the store to put the whole object together; a PUT gives it this part of it.
        work = self.size if method == "POST" else len(body) if isinstance(body, bytes) else 0
        timeout = urllib3.Timeout(
            connect=READ_TIMEOUT_S,  # it holds for each piece that is sent, too
            read=READ_TIMEOUT_S + transfer_allowance_s(work),
        )
        if not isinstance(body, bytes) or not body:  # of no bytes urllib3 says the length itself
            return {"timeout": timeout}
        return {"timeout": timeout, "body": self._pieces(memoryview(body))}

    def _pieces(self, body: memoryview) -> Iterator[memoryview]:
        """Give the body out piece by piece: the socket's limit is for all that one call sends."""
        for at in range(0, len(body), SEND_BYTES):
            self.check()
            yield body[at : at + SEND_BYTES]


class FileBody:
    """Bytes of an open file, read in a thread for as long as the one who asked for the transfer waits for it.

    It has a descriptor of its own, so that nobody else's file is read should the caller close theirs first.
    """

    def __init__(self, handle: int, offset: int, transfer: Transfer) -> None:
        self.transfer = transfer
        self._handle = os.dup(handle)
        self._offset = offset
        self._lock = Lock()

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raises TimeoutError when there is no more reason to go on."""
        with self._lock:
            self.transfer.check()
            data = os.pread(self._handle, size, self._offset)
            self._offset += len(data)
        if self.transfer.given_up:
            self.leave()
        return data

    def leave(self) -> None:
        """Let go of the file; a read that is under way just now does it at its end, so that nobody waits for it."""
        self.transfer.given_up = True
        if self._lock.acquire(blocking=False):
            handle, self._handle = self._handle, -1
            self._lock.release()
            if handle >= 0:
                os.close(handle)


current_transfer: ContextVar[Transfer | None] = ContextVar("transfer", default=None)
"""The transfer that this thread works for."""


class _BoundedPool(urllib3.PoolManager):
    """Sends the ids of the current request along (the signature does not cover them, so S3 takes no notice).

    What belongs to a transfer is sent under its limits.
    """

    def urlopen(  # type: ignore[override] # the base class narrows its own base likewise
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: FBT001, FBT002 - urllib3's own form
        **options: Any,  # noqa: ANN401 - passed on as they came
    ) -> BaseHTTPResponse:
        """Send a request."""
        options["headers"] = {**(options.get("headers") or {}), **outgoing_headers()}
        transfer = current_transfer.get()
        if transfer is not None:
            options |= transfer.options(method, options.get("body"))
        return super().urlopen(method, url, redirect, **options)


def make_client(settings: Settings, *, connections: int) -> Minio:
    """Build a client whose every wait has a limit and that never tries twice."""
    pool = _BoundedPool(
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


def classify_s3(error: Exception) -> Reason | None:
    """Name why the store failed; None for an answer that is about the request, such as a missing object."""
    if isinstance(error, ObjectMissingError | RangeError):
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
        # urllib3 has one name for all that happens while it sends.
        timeout = any(isinstance(each, TimeoutError) for each in link.args)
        return Reason.TIMEOUT if timeout else Reason.RESET
    if isinstance(link, ServerError | InvalidResponseError | HTTPError | S3Error):
        return Reason.ERROR
    return None
