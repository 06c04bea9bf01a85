"""The channels: which are live, what keeps them so, and what is left of those that were stopped.

The state is on disk, so that an origin that was killed makes its live channels live again when it
starts. Everything is bounded: live channels, known ones, segments, recordings.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from compose.standins.live_origin.encoder import LEAD_MS, PLAYLIST, Encoder, remux, segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from compose.standins.live_origin.clip import Clip

MAX_LIVE = 8
MAX_KNOWN = 64
MAX_RESTARTS = 5
"""How often a channel's encoder is started again before the channel has failed."""
RESTART_PAUSE_S = 0.2
KEPT_RECORDINGS = 3
START_LIMIT_S = 5.0
POLL_S = 0.02
_STATE_FILE = "channel.json"

log = logging.getLogger("live_origin")


class FullError(Exception):
    """As many channels are live as may be."""


class EncoderError(Exception):
    """The encoder did not bring a first segment in time."""


class State(StrEnum):
    """What a channel is doing."""

    LIVE = "live"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Recording:
    """What was kept of a channel that was stopped."""

    id: str
    duration_s: float
    size_bytes: int


class Channel:
    """One channel, in a folder of its own."""

    def __init__(self, name: str, folder: Path, recordings: Path) -> None:
        """Take up the channel as its folder has it; it is stopped until `start`."""
        self.name = name
        self.lock = asyncio.Lock()
        self.hls = folder / "hls"
        self.recordings = recordings
        self.state = State.STOPPED
        self.started_at = 0.0
        self.restarts = 0
        self.recording: Recording | None = None
        self.wanted_live = False
        self._file = folder / _STATE_FILE
        self._task: asyncio.Task[None] | None = None
        self._load()

    def start(self, encoder: Encoder, on_restart: Callable[[], None], *, anew: bool) -> None:
        """Begin to encode: `anew`, or going on with what the folder holds."""
        if anew:
            shutil.rmtree(self.hls, ignore_errors=True)
            self.started_at = time.time()
        self.hls.mkdir(parents=True, exist_ok=True)
        self.restarts = 0
        self.wanted_live = True
        self.state = State.LIVE
        self._save()
        self._task = asyncio.create_task(self._keep_encoding(encoder, on_restart))

    async def until_playable(self) -> None:
        """Wait for the playlist. Raises `EncoderError`."""
        playlist = self.hls / PLAYLIST
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while not playlist.is_file():
                    if self.state is State.FAILED:
                        break
                    await asyncio.sleep(POLL_S)
                else:
                    return
        except TimeoutError:
            pass
        raise EncoderError(f"the encoder of {self.name} brought no segment; try again")

    async def stop_encoding(self) -> None:
        """End the encoder, with its last segment written. Harmless when there is none."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def stop(self, ffmpeg: str) -> None:
        """Stop the channel and keep what was recorded of it."""
        await self.stop_encoding()
        self.recording = await self._record(ffmpeg)
        shutil.rmtree(self.hls, ignore_errors=True)
        self.wanted_live = False
        self.state = State.STOPPED
        self._save()

    def to_json(self) -> dict[str, Any]:
        """Return what callers see."""
        recording = None
        if self.recording is not None:
            path = f"/recordings/{self.name}/{self.recording.id}.mp4"
            recording = {**asdict(self.recording), "path": path}
        return {
            "name": self.name,
            "state": self.state,
            "started_at": self.started_at,
            "restarts": self.restarts,
            "playlist": f"/live/{self.name}/{PLAYLIST}",
            "recording": recording,
        }

    async def _keep_encoding(self, encoder: Encoder, on_restart: Callable[[], None]) -> None:
        # Ten numbers a second, one is used: no name is ever used twice, so segments can be cached for long.
        first = round(self.started_at * 10)
        while True:
            # The clock of the stream is the clock on the wall, so it never runs back. The lead stands for
            # what the encoder before had already written.
            elapsed_ms = round((time.time() - self.started_at) * 1000)
            try:
                await encoder.run(elapsed_ms + LEAD_MS if elapsed_ms > LEAD_MS else 0, first)
            except OSError as error:
                log.warning("channel %s: the encoder cannot start: %s", self.name, error)
            if self.restarts == MAX_RESTARTS:
                self.state = State.FAILED
                log.error("channel %s: failed, the encoder died too often", self.name)
                return
            self.restarts += 1
            on_restart()
            log.warning("channel %s: the encoder died, restart %d", self.name, self.restarts)
            await asyncio.sleep(RESTART_PAUSE_S)

    async def _record(self, ffmpeg: str) -> Recording | None:
        parts = segments(self.hls)
        if not parts:
            return None
        self.recordings.mkdir(parents=True, exist_ok=True)
        recording_id = f"{round(self.started_at * 1000):x}"
        path = self.recordings / f"{recording_id}.mp4"
        duration_s = await remux(ffmpeg, parts, path)
        if duration_s is None:
            log.error("channel %s: the recording could not be written", self.name)
            return None
        for old in sorted(self.recordings.glob("*.mp4"))[:-KEPT_RECORDINGS]:
            old.unlink(missing_ok=True)
        return Recording(recording_id, duration_s, path.stat().st_size)

    def _save(self) -> None:
        state = {
            "live": self.wanted_live,
            "started_at": self.started_at,
            "recording": None if self.recording is None else asdict(self.recording),
        }
        unfinished = self._file.with_suffix(".tmp")
        unfinished.write_text(json.dumps(state))
        unfinished.replace(self._file)

    def _load(self) -> None:
        if self._file.is_file():
            state = json.loads(self._file.read_text())
            self.wanted_live = bool(state["live"])
            self.started_at = float(state["started_at"])
            self.recording = Recording(**state["recording"]) if state["recording"] else None


class Channels:
    """All channels of an origin."""

    def __init__(
        self, folder: Path, ffmpeg: str, clip: Clip, on_restart: Callable[[], None]
    ) -> None:
        """Take up what is in `folder`; nothing is live before `resume`."""
        self._root = folder / "channels"
        self._recordings = folder / "recordings"
        self._ffmpeg = ffmpeg
        self._clip = clip
        self._on_restart = on_restart
        self._root.mkdir(parents=True, exist_ok=True)
        self._channels = {path.name: self._open(path.name) for path in sorted(self._root.iterdir())}

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._channels.values()))

    @property
    def live(self) -> int:
        """How many channels have an encoder, or are about to."""
        return sum(channel.state is State.LIVE for channel in self._channels.values())

    def get(self, name: str) -> Channel | None:
        """Return a channel that was started at some time."""
        return self._channels.get(name)

    async def start(self, name: str) -> tuple[Channel, bool]:
        """Make a channel live, wait until it can be played, and say whether it was not live before.

        Raises `FullError` and `EncoderError`.
        """
        if (channel := self._channels.get(name)) is None:
            self._check_room()
            self._forget_oldest()
            channel = self._channels[name] = self._open(name)
        async with channel.lock:
            started = channel.state is not State.LIVE
            if started:
                await channel.stop_encoding()
                self._check_room()
                channel.start(self._encoder(channel), self._on_restart, anew=True)
            await channel.until_playable()
            return channel, started

    async def stop(self, name: str) -> Channel | None:
        """Stop a channel and keep its recording; return None when there never was one of this name."""
        channel = self._channels.get(name)
        if channel is not None:
            async with channel.lock:
                if channel.state is not State.STOPPED:
                    await channel.stop(self._ffmpeg)
        return channel

    def resume(self) -> None:
        """Make live what was live when the origin ended."""
        for channel in self:
            if channel.wanted_live:
                channel.start(self._encoder(channel), self._on_restart, anew=False)

    async def close(self) -> None:
        """End all encoders; the channels stay live for the next start."""
        await asyncio.gather(*(channel.stop_encoding() for channel in self))

    def _check_room(self) -> None:
        if self.live >= MAX_LIVE:
            raise FullError(f"{MAX_LIVE} channels are live, which is the limit; stop one first")

    def _forget_oldest(self) -> None:
        """Keep the number of known channels within its limit."""
        idle = [channel for channel in self if channel.state is State.STOPPED]
        if len(self._channels) >= MAX_KNOWN and idle:
            oldest = min(idle, key=lambda channel: channel.started_at)
            del self._channels[oldest.name]
            shutil.rmtree(self._root / oldest.name, ignore_errors=True)
            shutil.rmtree(self._recordings / oldest.name, ignore_errors=True)

    def _open(self, name: str) -> Channel:
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        return Channel(name, folder, self._recordings / name)

    def _encoder(self, channel: Channel) -> Encoder:
        return Encoder(self._ffmpeg, self._clip, channel.hls)
