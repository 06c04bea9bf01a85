"""Uploads: a file arrives, is judged, stored, and only then acknowledged.

The order makes every end of the process, at any instant, one that can be settled: first the bytes on our own disk,
where they vanish with the upload; then the intent, a row that says which object may be in the store from now on; then
the object; then one statement that makes the video, the task to process it and the upload's end at once. What has an
intent and no end is found and removed later (`app.models.Upload`).
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid5

import structlog
from sqlalchemy import Row, TextClause, text
from starlette.exceptions import HTTPException

from app.core.context import current
from app.core.errors import AppError, ConflictError, UnavailableError
from app.core.metrics import UploadResult
from app.core.resilience.bulkhead import Bulkhead, BulkheadFullError
from app.core.resilience.deadline import extend_deadline
from app.core.resilience.guard import DependencyUnavailableError
from app.models import UploadState, VideoStatus
from app.services.accounts import denied
from app.services.incoming import Incoming, Part
from app.services.media import source_key
from app.services.sniff import HEAD_BYTES, sniff

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.infrastructure.database import Database

# At a time; more would only share the same disk and the same way to the store.
MAX_CONCURRENT, MAX_WAITING, MAX_WAIT_S = 16, 32, 1.0
# Files that arrive at the same time, together, in the largest uploads that are taken.
INCOMING_SHARE = 2
# Several times within the age at which an intent without an end counts as left behind.
TOUCH_EVERY_S = 5.0
# How long the store may take before the request itself gives up: its own limits come first.
STORE_S, STORE_BYTES_PER_S = 20.0, 2 * 1024 * 1024
RECORD_S = 3.0

log = structlog.get_logger(component="video")


class Keeper(Protocol):
    """Where objects are kept (`StorageService`)."""

    async def put_file(self, key: str, path: Path, content_type: str, checksum: str) -> str:
        """Keep a file durably; return by whom it is kept. Raises StorageFullError."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What a client says of what it sends."""

    owner_id: UUID
    key: str
    title: str
    description: str = ""
    size_bytes: int | None = None
    checksum_sha256: str | None = None

    @property
    def video_id(self) -> UUID:
        """Return the id of the video that it becomes, which follows from owner and key."""
        return uuid5(self.owner_id, self.key)


@dataclass(frozen=True, slots=True)
class UploadReceipt:
    """The promise that a file is kept and will be processed: it is durable when this is sent."""

    video_id: UUID
    status: VideoStatus
    size_bytes: int
    checksum_sha256: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on our disk that was judged."""

    path: Path
    content_type: str
    size_bytes: int
    checksum_sha256: str


class RefusedError(AppError):
    """The upload is not taken; the same bytes never will be."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(status, status.phrase, detail)


class UploadService:
    """Takes files."""

    def __init__(
        self, settings: Settings, database: Database, storage: Keeper, metrics: Metrics
    ) -> None:
        self._database = database
        self._storage = storage
        self._results = metrics.uploads_total
        self.incoming = Incoming(
            settings.local_store_dir, INCOMING_SHARE * settings.max_upload_bytes
        )
        self._bulkhead = Bulkhead("uploads", MAX_CONCURRENT, MAX_WAITING, max_wait_s=MAX_WAIT_S)
        metrics.watch_bulkhead(
            "uploads",
            in_flight=lambda: self._bulkhead.in_flight,
            waiting=lambda: self._bulkhead.waiting,
        )

    async def receive(
        self, request: UploadRequest, body: AsyncIterable[bytes]
    ) -> tuple[UploadReceipt, bool]:
        """Take a file; return the receipt, and whether it is new or that of an upload before.

        Raises ForbiddenError, RefusedError (400, 415, 422), ConflictError, StorageFullError, UnavailableError, and what
        `body` raises. Nothing is left of an upload that did not end well, or an intent tells where.
        """
        result = UploadResult.ABORTED
        try:
            async with self._bulkhead:
                await self._check(request)
                async with self.incoming.part(request.size_bytes or 0) as part:
                    file = await _received(request, part, body)
                    receipt, fresh = await self.keep(request, file)
            result = UploadResult.ACCEPTED if fresh else UploadResult.REPLAYED
        except BulkheadFullError as full:
            result = UploadResult.FAILED
            raise UnavailableError("room for another upload") from full
        except (AppError, HTTPException) as error:
            status = error.status if isinstance(error, AppError) else error.status_code
            result = (
                UploadResult.REFUSED
                if status < HTTPStatus.INTERNAL_SERVER_ERROR
                else UploadResult.FAILED
            )
            log.info("upload_refused", status_code=int(status), user_id=str(request.owner_id))
            raise
        finally:
            self._results.labels(result).inc()
        return receipt, fresh

    async def keep(self, request: UploadRequest, file: StoredFile) -> tuple[UploadReceipt, bool]:
        """Store a file that is on our disk and make it a video; as `receive`."""
        if await self._claim(request, file) is UploadState.DONE:
            return await self._earlier(request, file), False
        extend_deadline(STORE_S + file.size_bytes / STORE_BYTES_PER_S)
        async with self._kept_alive(request):
            kept_by = await self._storage.put_file(
                source_key(request.video_id), file.path, file.content_type, file.checksum_sha256
            )
        extend_deadline(RECORD_S)
        if not await self._record(request, file):
            # Another attempt of the same upload was first, or this one was given up as left behind.
            if await self._claim(request, file) is not UploadState.DONE:
                raise UnavailableError("the upload")
            return await self._earlier(request, file), False
        log.info(
            "upload_accepted",
            status="success",
            metadata={
                "video_id": str(request.video_id),
                "size_bytes": file.size_bytes,
                "content_type": file.content_type,
                "kept_by": kept_by,
            },
        )
        return (
            UploadReceipt(
                request.video_id, VideoStatus.PROCESSING, file.size_bytes, file.checksum_sha256
            ),
            True,
        )

    async def close(self) -> None:
        """Let go of the threads."""
        await self.incoming.close()

    async def _check(self, request: UploadRequest) -> None:
        """Refuse before the body comes what can be refused by then, and hear then that the database is away."""
        row = await self._row("select", _CHECK, request)
        if row is None or row.role not in {"creator", "admin"}:
            raise denied(request.owner_id, "only creators may upload")
        said = request.checksum_sha256
        if said is not None and row.state == UploadState.DONE and row.fingerprint != said:
            raise _other_content()

    async def _claim(self, request: UploadRequest, file: StoredFile) -> UploadState:
        """Write the intent, or find that of an earlier attempt with the same bytes."""
        row = await self._row("insert", _CLAIM, request, fingerprint=file.checksum_sha256)
        if row is None:
            raise _other_content()
        return UploadState(row.state)

    async def _record(self, request: UploadRequest, file: StoredFile) -> bool:
        """Acknowledge: video, task and the upload's end. False when there is no intent of these bytes any more."""
        context = current.get()
        row = await self._row(
            "update",
            _RECORD,
            request,
            fingerprint=file.checksum_sha256,
            title=request.title,
            description=request.description,
            size_bytes=file.size_bytes,
            content_type=file.content_type,
            correlation_id=context.correlation_id if context is not None else None,
        )
        return row is not None

    async def _earlier(self, request: UploadRequest, file: StoredFile) -> UploadReceipt:
        row = await self._row("select", _EARLIER, request)
        if row is None:
            raise ConflictError("the video that this upload had become was deleted")
        return UploadReceipt(
            request.video_id, VideoStatus(row.status), file.size_bytes, file.checksum_sha256
        )

    @asynccontextmanager
    async def _kept_alive(self, request: UploadRequest) -> AsyncIterator[None]:
        """Renew the intent meanwhile, so that a slow store does not make it look left behind."""

        async def touch() -> None:
            while True:
                await asyncio.sleep(TOUCH_EVERY_S)
                with suppress(DependencyUnavailableError):
                    await self._row("update", _TOUCH, request)

        task = asyncio.create_task(touch(), name="keep the intent of an upload alive")
        try:
            yield
        finally:
            task.cancel()

    async def _row(
        self, operation: str, statement: TextClause, request: UploadRequest, **values: object
    ) -> Row[Any] | None:
        values |= {
            "owner_id": request.owner_id,
            "key": request.key,
            "video_id": request.video_id,
        }

        async def run(session: AsyncSession) -> Row[Any] | None:
            return (await session.execute(statement, values)).one_or_none()

        return await self._database.run(run, operation=operation, table="uploads")


async def _received(request: UploadRequest, part: Part, body: AsyncIterable[bytes]) -> StoredFile:
    """Write the body to the disk and judge it. Its type is known, and refused, by its first bytes."""
    head, content_type = b"", None
    async for chunk in body:
        if content_type is None:
            head += chunk[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                content_type = _video_type(head)
        await part.write(chunk)
    if content_type is None:
        content_type = _video_type(head)
    if request.size_bytes is not None and part.size_bytes != request.size_bytes:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            f"the body has {part.size_bytes} bytes and Content-Length says {request.size_bytes}",
        )
    checksum = await part.finish()
    said = request.checksum_sha256
    if said is not None and not hmac.compare_digest(said, checksum):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "the body is not what Content-Digest says; it was changed on the way, send it again",
        )
    return StoredFile(part.path, content_type, part.size_bytes, checksum)


def _video_type(head: bytes) -> str:
    kind = sniff(head)
    if kind is None or not kind.startswith("video/"):
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "by its first bytes this is no video; send MP4, QuickTime, WebM, Matroska or MPEG-TS",
        )
    return kind


def _other_content() -> RefusedError:
    return RefusedError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "this Idempotency-Key belongs to other content; use a new key for a new upload",
    )


_CHECK = text("""
    SELECT users.role, uploads.state, uploads.fingerprint
    FROM users
    LEFT JOIN uploads ON uploads.owner_id = users.id AND uploads.idempotency_key = :key
    WHERE users.id = :owner_id
""")

# The first content that asks gets the key: no row comes back for another.
_CLAIM = text("""
    INSERT INTO uploads (owner_id, idempotency_key, video_id, fingerprint)
    VALUES (:owner_id, :key, :video_id, :fingerprint)
    ON CONFLICT (owner_id, idempotency_key) DO UPDATE SET touched_at = now()
    WHERE uploads.fingerprint = excluded.fingerprint
    RETURNING state
""")

_TOUCH = text("""
    UPDATE uploads SET touched_at = now()
    WHERE owner_id = :owner_id AND idempotency_key = :key AND state = 'receiving'
    RETURNING state
""")

_RECORD = text("""
    WITH kept AS (
        UPDATE uploads SET state = 'done', touched_at = now()
        WHERE owner_id = :owner_id AND idempotency_key = :key AND state = 'receiving' AND fingerprint = :fingerprint
        RETURNING video_id, owner_id, fingerprint
    ), video AS (
        INSERT INTO videos
            (id, owner_id, title, description, duration_s, status, size_bytes, content_type, checksum_sha256)
        SELECT video_id, owner_id, CAST(:title AS text), CAST(:description AS text), 0, 'processing',
            CAST(:size_bytes AS bigint), CAST(:content_type AS text), fingerprint
        FROM kept
        RETURNING id
    )
    INSERT INTO outbox (task, subject, correlation_id)
    SELECT 'process_video', id, CAST(:correlation_id AS text) FROM video
    RETURNING subject
""")

_EARLIER = text("SELECT status FROM videos WHERE id = :video_id AND deleted_at IS NULL")
