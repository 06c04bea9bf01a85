"""Live channels: what viewers get of them, and the one place where the fallback of `live-origin` is chosen.

A playlist is shared by all its viewers for half a second, a segment for ten. When the origin is away, or live is
switched off, a channel's playlist is that of its last recording, which plays from its first second to its last in any
player; a channel that is well and not live shows the same, and that is no degradation.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from app.core.bounded_cache import BoundedCache
from app.core.context import mark_degraded
from app.core.errors import NotFoundError, UnavailableError
from app.core.resilience.deadline import extend_deadline
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.core.resilience.single_flight import SingleFlight
from app.infrastructure.live_origin import (
    CALL_TIMEOUT_S,
    CONTROL_ALLOWANCE_S,
    DEPENDENCY,
    EncoderAwayError,
    OriginFullError,
)
from app.models import ChannelState

if TYPE_CHECKING:
    from uuid import UUID

    from app.core.metrics import Metrics
    from app.infrastructure.live_origin import LiveOrigin
    from app.services.channels import ChannelRecord, Channels, Recording
    from app.services.recordings import Recorder

FEATURE = "live"
PLAYLIST_LINGER_S = 0.5
MAX_PLAYLISTS = 256
SEGMENT_TTL_S = 10.0
SEGMENT_CACHE_BYTES = 32 * 1024 * 1024
# How long a viewer waits for a channel that is started because they came; players ask again by themselves.
START_WAIT_S = 0.8
# Before another viewer's coming starts it again.
START_PAUSE_S = 2.0
OFF_RETRY_S = 60.0
SEGMENTS = "segments/"

log = structlog.get_logger(component="live")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a channel shows now: its own playlist, the recording of before, or nothing."""

    playlist: bytes | None = None
    recording: Recording | None = None


class LiveService:
    """Serves channels, starts them and stops them. `enabled` is the operator's switch."""

    def __init__(
        self,
        channels: Channels,
        origin: LiveOrigin,
        recorder: Recorder,
        metrics: Metrics,
        *,
        enabled: bool,
    ) -> None:
        self.channels = channels
        self._origin = origin
        self._recorder = recorder
        self._enabled = enabled
        self._requests = metrics.live_requests_total
        self._fallbacks = metrics.app_fallback_total
        self._playlists: SingleFlight[bytes | None] = SingleFlight(
            linger_s=PLAYLIST_LINGER_S, max_lingering=MAX_PLAYLISTS
        )
        self._starts: SingleFlight[bool] = SingleFlight(
            linger_s=START_PAUSE_S, max_lingering=MAX_PLAYLISTS
        )
        self._segments: SingleFlight[bytes | None] = SingleFlight()
        self._kept: BoundedCache[tuple[str, str]] = BoundedCache(SEGMENT_CACHE_BYTES, SEGMENT_TTL_S)

    async def playlist(self, name: str) -> bytes:
        """Return the playlist of what a channel shows. Raises NotFoundError, UnavailableError."""
        try:
            shown = await self.show(name)
        except NotFoundError:
            self._requests.labels("playlist", "missing").inc()
            raise
        except UnavailableError:
            self._requests.labels("playlist", "unavailable").inc()
            raise
        if shown.playlist is not None:
            self._requests.labels("playlist", "live").inc()
            return shown.playlist
        if shown.recording is not None:
            self._requests.labels("playlist", "vod").inc()
            return vod_playlist(shown.recording)
        self._requests.labels("playlist", "missing").inc()
        raise NotFoundError(f"the channel {name} is not live, and nothing was recorded of it")

    async def show(self, name: str) -> Shown:
        """Find out what a channel shows; `recording` is set in place of a playlist.

        Raises NotFoundError, and UnavailableError when the origin is away and nothing was recorded.
        """
        if not self._enabled:
            mark_degraded(FEATURE)
            return Shown(recording=(await self.channels.find(name)).recording)
        try:
            playlist = await self._live(name)
            if playlist is None:
                channel = await self.channels.find(name)
                if channel.state is not ChannelState.LIVE:
                    return Shown(recording=channel.recording)
                playlist = await self._started(name)
        except DependencyUnavailableError as unavailable:
            if unavailable.dependency != DEPENDENCY:
                raise
            return await self._fall_back(name, unavailable.reason)
        if playlist is None:
            return await self._fall_back(name, Reason.ERROR)
        return Shown(playlist=playlist)

    async def segment(self, name: str, file: str) -> bytes:
        """Return a segment of a live channel. Raises NotFoundError.

        A player that cannot get one goes on to the next, or asks for the playlist again and gets the recording. So
        when the origin is away that is the answer, marked as degraded.
        """
        kept = self._kept.get((name, file))
        if kept is not None:
            self._requests.labels("segment", "cached").inc()
            return kept
        result = "missing"
        if not self._enabled:
            mark_degraded(FEATURE)
        else:
            try:
                found = await self._segments.do((name, file), partial(self._fetch, name, file))
                if found is not None:
                    self._requests.labels("segment", "live").inc()
                    return found
            except DependencyUnavailableError as unavailable:
                self._degraded(unavailable.reason)
                result = "unavailable"
            except EncoderAwayError:
                self._degraded(Reason.ERROR)
                result = "unavailable"
        self._requests.labels("segment", result).inc()
        raise NotFoundError(f"there is no segment {file} of {name} now; load the playlist again")

    async def recording(self, name: str, video_id: UUID) -> Recording:
        """Return the recording whose video this is, if it is what the channel shows. Raises NotFoundError."""
        recording = (await self.channels.find(name)).recording
        if recording is None or recording.video_id != video_id:
            self._requests.labels("segment", "missing").inc()
            raise NotFoundError(f"this is no recording of {name}; load the playlist again")
        self._requests.labels("segment", "vod").inc()
        return recording

    async def start(self, caller_id: UUID, name: str) -> ChannelRecord:
        """Make a channel live: a new one becomes the caller's.

        Raises ForbiddenError, ConflictError, UnavailableError: then it is as it was before.
        """
        if not self._enabled:
            self._requests.labels("start", "refused").inc()
            raise UnavailableError(FEATURE, OFF_RETRY_S)
        changed = await self.channels.claim(caller_id, name)
        extend_deadline(CALL_TIMEOUT_S + CONTROL_ALLOWANCE_S + 1.0)
        try:
            await self._origin.start(name)
        except (DependencyUnavailableError, OriginFullError, EncoderAwayError) as error:
            if changed:
                await self.channels.release(caller_id, name)
            full = isinstance(error, OriginFullError)
            self._requests.labels("start", "refused" if full else "unavailable").inc()
            raise UnavailableError(
                "room for another live channel" if full else DEPENDENCY
            ) from error
        self._requests.labels("start", "ok").inc()
        self._playlists.forget(name)
        log.info("live_channel_started", channel=name, status="success")
        return await self.channels.find(name)

    async def stop(self, caller_id: UUID, name: str) -> tuple[ChannelRecord, UUID | None]:
        """Stop a channel; return it, and the id of the video that its recording becomes, if that is known now.

        The wish is kept in the database first. When the origin is away it is told later, by the recorder.
        Raises NotFoundError, ForbiddenError.
        """
        channel = await self.channels.release(caller_id, name)
        video_id = None
        stopped = None
        if self._enabled:
            extend_deadline(CALL_TIMEOUT_S + CONTROL_ALLOWANCE_S + 1.0)
            try:
                stopped = await self._origin.stop(name)
            except DependencyUnavailableError as unavailable:
                self._degraded(unavailable.reason)
                self._requests.labels("stop", "later").inc()
            else:
                self._requests.labels("stop", "ok").inc()
        else:
            mark_degraded(FEATURE)
            self._requests.labels("stop", "later").inc()
        self._playlists.forget(name)
        self._starts.forget(name)
        if stopped is not None and stopped.recording is not None:
            video_id = self._recorder.video_of(channel, stopped.recording)
            self._recorder.wake()
        log.info("live_channel_stopped", channel=name, status="success")
        return channel, video_id

    async def _live(self, name: str) -> bytes | None:
        async def ask() -> bytes | None:
            found = await self._origin.playlist(name)
            return None if found is None else _ours(found)

        try:
            return await self._playlists.do(name, ask)
        except EncoderAwayError as error:
            raise DependencyUnavailableError(DEPENDENCY, Reason.ERROR) from error

    async def _started(self, name: str) -> bytes | None:
        """Start a channel that is meant to be live and is not: the origin is new, or has lost it."""

        async def start() -> bool:
            try:
                await self._origin.start(name)
            except (OriginFullError, EncoderAwayError):
                return False
            self._playlists.forget(name)
            log.info("live_channel_started", channel=name, status="success")
            return True

        try:
            async with asyncio.timeout(START_WAIT_S):
                if not await self._starts.do(name, start):
                    return None
                return await self._live(name)
        except TimeoutError as error:
            raise DependencyUnavailableError(DEPENDENCY, Reason.TIMEOUT) from error

    async def _fall_back(self, name: str, reason: Reason) -> Shown:
        self._degraded(reason)
        recording = (await self.channels.find(name)).recording
        if recording is None:
            raise UnavailableError(DEPENDENCY)
        return Shown(recording=recording)

    def _degraded(self, reason: Reason) -> None:
        self._fallbacks.labels(DEPENDENCY, reason).inc()
        mark_degraded(FEATURE)

    async def _fetch(self, name: str, file: str) -> bytes | None:
        found = await self._origin.segment(name, file)
        if found is not None:
            self._kept.put((name, file), found)
        return found


def vod_playlist(recording: Recording) -> bytes:
    """Return the playlist of a recording: one segment, which is the whole file."""
    seconds = recording.duration_s
    return (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        f"#EXT-X-TARGETDURATION:{seconds}\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXTINF:{seconds},\n{SEGMENTS}{recording.video_id}.mp4\n#EXT-X-ENDLIST\n"
    ).encode("ascii")


def _ours(playlist: bytes) -> bytes:
    """Let a playlist's segments be ours: relative to it, so that they are found behind any proxy."""
    lines = playlist.splitlines()
    prefix = SEGMENTS.encode("ascii")
    return (
        b"\n".join(line if not line or line.startswith(b"#") else prefix + line for line in lines)
        + b"\n"
    )
