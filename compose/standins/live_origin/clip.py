"""What every channel's camera sees: a short clip, encoded once, played round and round without a seam.

The clip is kept as FLV because that is what a camera sends over RTMP: a row of tags, each with its own
time. To play it for ever is to send the tags again with later times. So nothing is encoded while a
channel is live, and the encoder behind it only cuts the stream into segments.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Whole frames of both streams: 80 of video (10 a second), 125 of sound (1024 samples at 16 kHz).
CLIP_MS = 8_000
_NAME = "camera-1.flv"  # another number when the recipe changes
_LIMIT_S = 30.0
_HEADER_BYTES = 9
_BACK_POINTER_BYTES = 4
_TAG_HEADER_BYTES = 11
_AUDIO, _VIDEO = 8, 9
_CONFIGURATION, _MEDIA = 0, 1
_KEYFRAME = 1


class ClipError(Exception):
    """The clip could not be made, or is no FLV."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A frame: the bytes before and after its time, which is in milliseconds from the clip's start."""

    at_ms: int
    before: bytes
    after: bytes
    begins: bool
    """Whether a stream may begin here: a key frame of the video."""

    def at(self, at_ms: int) -> bytes:
        """Return the tag with another time. FLV keeps the highest of its four bytes last."""
        stamp = (at_ms & 0xFFFFFFFF).to_bytes(4, "big")
        return self.before + stamp[1:] + stamp[:1] + self.after


@dataclass(frozen=True, slots=True)
class Clip:
    """The start of the stream, which tells the codecs, and the frames of one round in order of time."""

    start: bytes
    tags: tuple[Tag, ...]

    def at_ms(self, n: int) -> int:
        """Return the time of the n-th tag of the endless stream."""
        rounds, index = divmod(n, len(self.tags))
        return rounds * CLIP_MS + self.tags[index].at_ms

    def tag(self, n: int) -> bytes:
        """Return the n-th tag of the endless stream."""
        return self.tags[n % len(self.tags)].at(self.at_ms(n))

    def entry(self, from_ms: int) -> int:
        """Return the first tag at or after `from_ms` with which a stream may begin."""
        n = from_ms // CLIP_MS * len(self.tags)
        while self.at_ms(n) < from_ms or not self.tags[n % len(self.tags)].begins:
            n += 1
        return n


def make_clip(ffmpeg: str, folder: Path) -> Clip:
    """Return the clip in `folder`, made by `ffmpeg` when it is not there yet. Raises `ClipError`."""
    path = folder / _NAME
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        seconds = CLIP_MS / 1000
        command = [
            *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y"),
            *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=10:duration={seconds:g}"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=16000:duration={seconds:g}"),
            # A key frame each second, where segments may be cut; no B-frames, so times only rise.
            *("-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline", "-crf", "34"),
            *("-g", "10", "-keyint_min", "10", "-sc_threshold", "0", "-pix_fmt", "yuv420p"),
            *("-c:a", "aac", "-b:a", "24k", "-ac", "1", "-threads", "1"),
            *("-flags", "+bitexact", "-fflags", "+bitexact", "-f", "flv", str(unfinished)),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_S)  # noqa: S603 - our own words
        except (OSError, subprocess.SubprocessError) as error:
            raise ClipError(f"{ffmpeg} cannot make the clip: {error}") from error
        unfinished.replace(path)
    return read_clip(path.read_bytes())


def read_clip(data: bytes) -> Clip:
    """Return the clip in an FLV file. Raises `ClipError`."""
    if data[:3] != b"FLV":
        raise ClipError(f"the clip begins with {data[:3]!r}; expected an FLV file")
    start = bytearray(data[: _HEADER_BYTES + _BACK_POINTER_BYTES])
    tags: list[Tag] = []
    at = len(start)
    while at + _TAG_HEADER_BYTES <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        end = at + _TAG_HEADER_BYTES + size + _BACK_POINTER_BYTES
        raw, body = data[at:end], data[at + _TAG_HEADER_BYTES : end - _BACK_POINTER_BYTES]
        at = end
        if raw[0] not in (_AUDIO, _VIDEO):
            continue  # the file's own description: it names a length, and the stream has none
        at_ms = int.from_bytes(raw[7:8] + raw[4:7], "big")
        if body[1] == _CONFIGURATION:
            start += raw
        elif body[1] == _MEDIA and at_ms < CLIP_MS:
            begins = raw[0] == _VIDEO and body[0] >> 4 == _KEYFRAME
            tags.append(Tag(at_ms, raw[:4], raw[8:], begins))
    if not any(tag.begins for tag in tags):
        raise ClipError("the clip has no key frame")
    return Clip(bytes(start), tuple(sorted(tags, key=lambda tag: tag.at_ms)))
