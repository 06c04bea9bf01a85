"""One encoder: an ffmpeg that cuts what the camera sends into HLS segments, and the remux of a recording.

The camera is this process: it writes the clip's tags into ffmpeg's standard input as their time comes.
That pipe is also the leash. However this process ends, by SIGKILL too, the kernel closes the pipe and
ffmpeg reads the end of its input and is done, on every system alike and with nobody to watch over it.
PR_SET_PDEATHSIG would do so on Linux only, and needs code between fork and exec. (The end of input means
nothing to an ffmpeg that reads a file: it takes 'q' from there, but goes on when there is no more.)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from compose.standins.live_origin.clip import Clip

PLAYLIST = "index.m3u8"
SEGMENT_S = 1
LISTED_SEGMENTS = 6
KEPT_SEGMENTS = 60
"""How much a recording holds: older segments are gone."""
LEAD_MS = 1_300
"""How far the camera is ahead of the clock, so that a channel has its first segment at once."""
TICK_S = 0.2
LATE_MS = 2_000
"""A camera that is later than this was paused: it goes on from where it was, without a burst."""
END_LIMIT_S = 0.8
REMUX_LIMIT_S = 10.0

_OUT_TIME = re.compile(rb"^out_time_us=(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Encoder:
    """How a channel is encoded: the program, the camera's clip, the folder of playlist and segments."""

    ffmpeg: str
    clip: Clip
    folder: Path

    async def run(self, from_ms: int, first_segment: int) -> None:
        """Encode from this time of the stream on; return when ffmpeg died.

        `first_segment` is the number of the channel's first segment; a playlist that is there is continued.
        When it is cancelled, ffmpeg writes its last segment and ends, within `END_LIMIT_S`.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command(first_segment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            with contextlib.suppress(ConnectionError):
                await self._feed(process, from_ms)
        finally:
            await _end(process)

    async def _feed(self, process: Process, from_ms: int) -> None:
        """Play the camera until ffmpeg is gone. Raises `ConnectionError` when the pipe breaks."""
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.write(self.clip.start)
        n = self.clip.entry(from_ms)
        zero_s = time.monotonic() - self.clip.at_ms(n) / 1000
        while process.returncode is None:
            segments(self.folder)
            due_ms = (time.monotonic() - zero_s) * 1000 + LEAD_MS
            late_ms = due_ms - self.clip.at_ms(n) - LEAD_MS
            if late_ms > LATE_MS:
                zero_s += late_ms / 1000
                due_ms -= late_ms
            while self.clip.at_ms(n) < due_ms:
                process.stdin.write(self.clip.tag(n))
                n += 1
            await process.stdin.drain()
            await asyncio.sleep(TICK_S)

    def _command(self, first_segment: int) -> list[str]:
        # ffmpeg would delete what has left the playlist much sooner than a recording wants, so it deletes nothing.
        flags = "program_date_time+omit_endlist+temp_file"
        playlist = self.folder / PLAYLIST
        if playlist.is_file():
            flags += "+append_list"
        return [
            *(self.ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error"),
            # The times stay as the camera set them, so that they go on over a restart.
            *("-analyzeduration", "1000000", "-copyts", "-f", "flv", "-i", "pipe:0"),
            *("-c", "copy", "-f", "hls"),
            *("-hls_time", str(SEGMENT_S), "-hls_list_size", str(LISTED_SEGMENTS)),
            *("-start_number", str(first_segment), "-hls_segment_filename"),
            *(str(self.folder / "%d.ts"), "-hls_flags", flags, str(playlist)),
        ]


async def _end(process: Process) -> None:
    """Close the pipe, give ffmpeg the time to write its last segment, then kill it."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.close()
    try:
        async with asyncio.timeout(END_LIMIT_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def segments(folder: Path) -> list[Path]:
    """Return the finished segments in their order, the oldest beyond `KEPT_SEGMENTS` removed."""
    found = sorted(
        (path for path in folder.glob("*.ts") if path.stem.isdecimal()),
        key=lambda path: int(path.stem),
    )
    for path in found[:-KEPT_SEGMENTS]:
        path.unlink(missing_ok=True)
    return found[-KEPT_SEGMENTS:]


async def remux(ffmpeg: str, parts: list[Path], path: Path) -> float | None:
    """Write the segments as one MP4, without encoding; return its length in seconds, None when that failed."""
    unfinished = path.with_suffix(".tmp")
    process = await asyncio.create_subprocess_exec(
        *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-progress", "pipe:1"),
        *("-f", "mpegts", "-i", "pipe:0", "-c", "copy", "-movflags", "+faststart"),
        *("-f", "mp4", str(unfinished)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        # A minute of this camera is about a megabyte.
        media = await asyncio.to_thread(_read, parts)
        async with asyncio.timeout(REMUX_LIMIT_S):
            output, _ = await process.communicate(media)
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    times = _OUT_TIME.findall(output)
    if process.returncode != 0 or not times or int(times[-1]) == 0:
        unfinished.unlink(missing_ok=True)
        return None
    unfinished.replace(path)
    return round(int(times[-1]) / 1_000_000, 3)


def _read(parts: list[Path]) -> bytes:
    return b"".join(part.read_bytes() for part in parts)
