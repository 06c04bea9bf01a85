"""The work on one video: download, transcode, thumbnail, upload, publish.

Each stage may be done again: keys follow from the video's id, and the encoder gives the same bytes for the same source.
So an attempt that ends anywhere, by a signal, an outage or a crash, leaves nothing that the next one does not replace.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from app.core.errors import StorageFullError, UnavailableError
from app.core.metrics import ProcessingError
from app.core.resilience.guard import DependencyUnavailableError
from app.services.media import object_keys, rendition_key, source_key, thumbnail_key
from app.services.storage import ObjectChangedError, ObjectMissingError
from app.worker import ffmpeg
from app.worker.ledger import MadeRendition
from app.worker.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path
    from uuid import UUID

    from app.core.metrics import Metrics
    from app.services.storage import StorageService
    from app.worker.ledger import Ledger, Taken

VIDEO_TYPE = "video/mp4"
IMAGE_TYPE = "image/png"
LIMITS = ffmpeg.Limits(time_s=300, memory_bytes=1 << 30, threads=2, max_output_bytes=512 << 20)
RENEWALS = 5
"""How often a lease is renewed before it would end: one that comes late costs nothing."""

LEAVE_WITHIN_S = 3.0

log = structlog.get_logger(component="video")


class Outcome(StrEnum):
    """How an attempt ended."""

    PUBLISHED = "published"
    FAILED = "failed"
    LATER = "later"
    NOTHING_TO_DO = "nothing_to_do"
    """Somebody else does it, or it is done, or the video is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one waits for another, in seconds."""

    lease_s: float = 15.0
    """For how long nobody takes a video from somebody who has gone silent."""
    max_attempts: int = 5
    """Attempts that ended by themselves. What a dependency or a stop of the worker has ended does not count."""
    first_pause_s: float = 1.0
    max_pause_s: float = 10.0

    def pause_s(self, attempts: int) -> float:
        """Return for how long a video rests after its attempt number `attempts`."""
        return min(self.max_pause_s, self.first_pause_s * 2.0 ** (attempts - 1))


class LeaseLostError(Exception):
    """Another has the lease, or the video is deleted."""


class SourceDamagedError(Exception):
    """What was read is not what was uploaded."""


class Pipeline:
    """Does the work, one video a call. Several calls, in this process or in others, never do one video twice."""

    def __init__(
        self,
        ledger: Ledger,
        media: StorageService,
        metrics: Metrics,
        *,
        folder: Path,
        patience: Patience | None = None,
        limits: ffmpeg.Limits = LIMITS,
    ) -> None:
        """Keep files in `folder` meanwhile; nothing in it outlives its attempt but by a crash."""
        self._ledger = ledger
        self._media = media
        self._folder = folder
        self._patience = patience or Patience()
        self._limits = limits
        self._durations = metrics.video_processing_duration_seconds
        self._errors = metrics.video_processing_errors_total

    async def process(self, video_id: UUID) -> Outcome:
        """Do what is left to do; return how it ended.

        Raises DependencyUnavailableError when PostgreSQL is away, so that not even the lease could be asked for.
        """
        owner = uuid4().hex
        taken = await self._ledger.take(video_id, owner, self._patience.lease_s)
        if taken is None:
            log.debug("video_processing_skipped", video_id=str(video_id))
            return Outcome.NOTHING_TO_DO
        attempt = _Attempt(video_id, owner, taken)
        try:
            return await self._attempt(attempt)
        except asyncio.CancelledError:
            await self._leave_at_once(attempt)
            raise
        except DependencyUnavailableError as unavailable:
            # It was PostgreSQL, when even the end could not be written. The lease ends by itself.
            self._count(attempt, ProcessingError.UNAVAILABLE, unavailable)
            return Outcome.LATER

    async def _attempt(self, attempt: _Attempt) -> Outcome:
        if attempt.taken.attempts > self._patience.max_attempts:
            return await self._fail(attempt, ProcessingError.GAVE_UP)
        log.info(
            "video_processing_started",
            video_id=attempt.text,
            attempt=attempt.taken.attempts,
            size_bytes=attempt.taken.size_bytes,
        )
        try:
            return await self._while_leased(attempt, self._stages(attempt))
        except LeaseLostError as lost:
            self._count(attempt, ProcessingError.LEASE_LOST, lost)
            await self._clear_if_gone(attempt)
            return Outcome.NOTHING_TO_DO
        except Exception as error:
            trouble = _judge(error)
            if trouble.kind is ProcessingError.UNEXPECTED:
                log.exception("video_processing_broke", video_id=attempt.text)
            last = trouble.counts and attempt.taken.attempts >= self._patience.max_attempts
            if trouble.final or last:
                return await self._fail(attempt, trouble.kind)
            return await self._postpone(attempt, trouble, error)

    async def _stages(self, attempt: _Attempt) -> Outcome:
        video_id = attempt.video_id
        with workspace(self._folder) as folder:
            source = folder / "source"
            with self._stage(attempt, "download", "video_download_started"):
                await self._download(attempt, source)
            with self._stage(attempt, "transcode", "video_transcode_started"):
                info = await ffmpeg.probe(source, self._limits)
                renditions = await ffmpeg.transcode(source, folder, self._limits, info)
            with self._stage(attempt, "thumbnail", "thumbnail_generation_started"):
                await ffmpeg.thumbnail(source, folder / "thumbnail.png", self._limits, info)
            with self._stage(attempt, "upload", "video_upload_started"):
                # Whatever was deleted meanwhile must not get objects again.
                await self._renew(attempt)
                stored = [await self._store(video_id, each) for each in renditions]
                await self._put(thumbnail_key(video_id), folder / "thumbnail.png", IMAGE_TYPE)
            with self._stage(attempt, "publish"):
                duration_s = max(1, round(info.duration_s))
                published = await self._ledger.publish(video_id, duration_s, stored)
        if not published:
            raise LeaseLostError
        log.info(
            "video_processing_completed",
            video_id=attempt.text,
            status="success",
            duration_ms=attempt.duration_ms(),
            attempt=attempt.taken.attempts,
        )
        return Outcome.PUBLISHED

    async def _download(self, attempt: _Attempt, path: Path) -> None:
        digest = hashlib.sha256()
        stream = await self._media.open(source_key(attempt.video_id))
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in stream.chunks:
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        expected = attempt.taken.checksum_sha256
        if expected is not None and digest.hexdigest() != expected:
            raise SourceDamagedError

    async def _store(self, video_id: UUID, made: ffmpeg.Rendition) -> MadeRendition:
        key = rendition_key(video_id, made.name)
        checksum = await self._put(key, made.path, VIDEO_TYPE)
        return MadeRendition(made.name, key, made.height, made.size_bytes, checksum)

    async def _put(self, key: str, path: Path, content_type: str) -> str:
        checksum = await asyncio.to_thread(_checksum, path)
        await self._media.put_file(key, path, content_type, checksum)
        return checksum

    @contextmanager
    def _stage(self, attempt: _Attempt, name: str, event: str | None = None) -> Iterator[None]:
        attempt.stage = name
        if event is not None:
            log.info(event, video_id=attempt.text)
        began = time.perf_counter()
        yield
        self._durations.labels(name).observe(time.perf_counter() - began)

    async def _while_leased(self, attempt: _Attempt, stages: Awaitable[Outcome]) -> Outcome:
        """Do the stages and keep the lease meanwhile; stop them when it is lost."""
        work = asyncio.ensure_future(stages)
        holding = asyncio.create_task(self._hold(attempt))
        try:
            await asyncio.wait({work, holding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = work.done()
            for task in (work, holding):
                task.cancel()
            await asyncio.gather(work, holding, return_exceptions=True)
        return await (work if ended else holding)

    async def _hold(self, attempt: _Attempt) -> Outcome:
        """Renew the lease until it is lost. While PostgreSQL is away nobody else can take it."""
        while True:
            await asyncio.sleep(self._patience.lease_s / RENEWALS)
            with suppress(DependencyUnavailableError):
                await self._renew(attempt)

    async def _renew(self, attempt: _Attempt) -> None:
        if not await self._ledger.renew(
            attempt.video_id, attempt.owner, self._patience.lease_s, attempt.stage
        ):
            raise LeaseLostError

    async def _fail(self, attempt: _Attempt, kind: ProcessingError) -> Outcome:
        self._errors.labels(kind).inc()
        if not await self._ledger.fail(attempt.video_id, kind):
            return Outcome.NOTHING_TO_DO
        log.error(
            "video_processing_failed",
            video_id=attempt.text,
            status="failure",
            reason=kind,
            stage=attempt.stage,
            duration_ms=attempt.duration_ms(),
            attempt=attempt.taken.attempts,
        )
        return Outcome.FAILED

    async def _postpone(self, attempt: _Attempt, trouble: _Trouble, error: Exception) -> Outcome:
        """Let the video rest, for whoever takes it next."""
        self._count(attempt, trouble.kind, error)
        await self._ledger.leave(
            attempt.video_id,
            attempt.owner,
            error=trouble.kind,
            pause_s=self._patience.pause_s(attempt.taken.attempts),
            counts=trouble.counts,
        )
        return Outcome.LATER

    def _count(self, attempt: _Attempt, kind: ProcessingError, error: Exception) -> None:
        self._errors.labels(kind).inc()
        log.warning(
            "video_processing_postponed",
            video_id=attempt.text,
            reason=kind,
            stage=attempt.stage,
            error_type=type(error).__name__,
            attempt=attempt.taken.attempts,
        )

    async def _leave_at_once(self, attempt: _Attempt) -> None:
        """Give the lease back: whoever stops does not let others wait for it."""
        with suppress(DependencyUnavailableError, TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self._ledger.leave(
                    attempt.video_id, attempt.owner, error=None, pause_s=0.0, counts=False
                )
        log.info("video_processing_released", video_id=attempt.text, stage=attempt.stage)

    async def _clear_if_gone(self, attempt: _Attempt) -> None:
        """Remove what was stored for a video that was deleted meanwhile: its own removal may have come before."""
        await self._leave_at_once(attempt)
        if await self._ledger.is_gone(attempt.video_id):
            for key in object_keys(attempt.video_id):
                await self._media.delete(key)


class _Attempt:
    """One attempt at one video."""

    __slots__ = ("_began", "owner", "stage", "taken", "text", "video_id")

    def __init__(self, video_id: UUID, owner: str, taken: Taken) -> None:
        self.video_id = video_id
        self.text = str(video_id)
        self.owner = owner
        self.taken = taken
        self.stage = "download"
        self._began = time.perf_counter()

    def duration_ms(self) -> float:
        """Return how long it has lasted."""
        return round((time.perf_counter() - self._began) * 1000, 2)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What an error means for the video: the end, or another attempt, and whether this one counts."""

    kind: ProcessingError
    final: bool = False
    counts: bool = True


def _judge(error: Exception) -> _Trouble:
    match error:
        case ffmpeg.BadMediaError():
            return _Trouble(ProcessingError(error.reason.value), final=not error.reason.may_pass)
        case UnavailableError():
            # An outage may last as long as it likes: that is no reason to give a video up.
            return _Trouble(ProcessingError.UNAVAILABLE, counts=False)
        case StorageFullError():
            return _Trouble(ProcessingError.STORAGE_FULL, counts=False)
        case ObjectMissingError():
            return _Trouble(ProcessingError.SOURCE_MISSING)
        case SourceDamagedError() | ObjectChangedError():
            return _Trouble(ProcessingError.SOURCE_DAMAGED)
        case _:
            return _Trouble(ProcessingError.UNEXPECTED)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
