"""Recordings of live channels become videos, by the way of every upload.

The origin keeps the last recording of each channel, and the id of the video that one becomes follows from channel and
recording. So nothing needs to be remembered in between: whoever compares the origin's list with the uploads that have
ended knows what is missing. That is done after each stop and again every few seconds, and the upload's idempotency
makes it harmless to do it twice, or in two processes. A stop that the origin did not hear of is made up for likewise.
What cannot be fetched before the channel is live and stopped once more is replaced by the later recording.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from uuid import UUID, uuid5

import structlog
from aiohttp import ClientError

from app.core.errors import AppError
from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.live_origin import OriginError
from app.models import ChannelState
from app.services.upload import UploadRequest

if TYPE_CHECKING:
    from types import TracebackType

    from app.core.metrics import Metrics
    from app.infrastructure.live_origin import LiveOrigin, OriginChannel, OriginRecording
    from app.services.channels import ChannelRecord, Channels
    from app.services.upload import UploadService

INTERVAL_S = 5.0
# All recordings of one round together; the next round goes on.
ROUND_S = 60.0
END_S = 1.0
# Recordings that were refused for good are not asked for again; so many are remembered.
MAX_REFUSED = 256

log = structlog.get_logger(component="live")


class Recorder:
    """Brings recordings home, while it is open (`async with`)."""

    def __init__(
        self,
        channels: Channels,
        origin: LiveOrigin,
        uploads: UploadService,
        metrics: Metrics,
        *,
        enabled: bool,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._channels = channels
        self._origin = origin
        self._uploads = uploads
        self._results = metrics.live_requests_total
        self._enabled = enabled
        self._interval_s = interval_s
        self._awake = asyncio.Event()
        self._refused: deque[UUID] = deque(maxlen=MAX_REFUSED)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start, unless live is switched off."""
        if self._enabled:
            self._task = asyncio.create_task(self._run(), name="bring recordings home")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; a recording under way is left to the next start, and nothing stays of it here."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=END_S)

    def wake(self) -> None:
        """Look now: a channel was stopped."""
        self._awake.set()

    def video_of(self, channel: ChannelRecord, recording: OriginRecording) -> UUID:
        """Return the id of the video that a recording becomes."""
        return _request(channel, recording).video_id

    async def settle_once(self) -> int:
        """Bring both sides together once; return how many recordings became videos.

        Raises DependencyUnavailableError.
        """
        # The origin first: what is read as live there was wished so before, so a wish that is read as offline is later.
        at_origin = {channel.name: channel for channel in await self._origin.channels()}
        if not at_origin:
            return 0
        channels = await self._channels.named(list(at_origin))
        for channel in channels:
            found = at_origin[channel.name]
            if channel.state is ChannelState.OFFLINE and not found.stopped:
                stopped = await self._origin.stop(channel.name)
                at_origin[channel.name] = stopped or found
        recordings = [
            (channel, recording)
            for channel in channels
            if (recording := _recording(at_origin, channel)) is not None
        ]
        uploaded = await self._channels.uploaded([self.video_of(*each) for each in recordings])
        kept = 0
        for channel, recording in recordings:
            video_id = self.video_of(channel, recording)
            if video_id not in uploaded:
                if not await self._keep(channel, recording):
                    continue
                kept += 1
            await self._channels.keep_recording(channel.name, video_id, _seconds(recording))
        return kept

    async def _run(self) -> None:
        while True:
            self._awake.clear()
            try:
                async with asyncio.timeout(ROUND_S):
                    await self.settle_once()
            except DependencyUnavailableError as unavailable:
                log.debug(
                    "live_recordings_wait",
                    dependency=unavailable.dependency,
                    reason=unavailable.reason,
                )
            except Exception as error:
                # The recorder outlives whatever one round brings.
                log.exception("live_recordings_failed", error_type=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._awake.wait()

    async def _keep(self, channel: ChannelRecord, recording: OriginRecording) -> bool:
        """Make a recording a video, if it is one that is taken; what failed for now is left to the next round."""
        request = _request(channel, recording)
        if request.video_id in self._refused:
            return False
        try:
            async with self._origin.recording(channel.name, recording) as pieces:
                await self._uploads.receive(request, pieces)
        except (AppError, ClientError, OSError, TimeoutError, OriginError) as error:
            self._results.labels("recording", "failed").inc()
            final = isinstance(error, AppError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
            if final:
                self._refused.append(request.video_id)
            log.warning(
                "live_recording_failed",
                channel=channel.name,
                error_type=type(error).__name__,
                status="failure",
                metadata={"final": final},
            )
            return False
        self._results.labels("recording", "kept").inc()
        log.info(
            "live_recording_kept",
            channel=channel.name,
            status="success",
            metadata={
                "video_id": str(request.video_id),
                "size_bytes": recording.size_bytes,
            },
        )
        return True


def _recording(
    at_origin: dict[str, OriginChannel], channel: ChannelRecord
) -> OriginRecording | None:
    return at_origin[channel.name].recording


def _seconds(recording: OriginRecording) -> int:
    return max(1, round(recording.duration_s))


def _request(channel: ChannelRecord, recording: OriginRecording) -> UploadRequest:
    # Recordings are numbered within their channel.
    key = f"live-{uuid5(channel.owner_id, f'{channel.name}/{recording.id}')}"
    return UploadRequest(
        channel.owner_id,
        key,
        f"Live on {channel.name}",
        "Recorded while it was live.",
        recording.size_bytes,
    )
