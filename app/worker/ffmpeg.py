"""Media work with ffmpeg, on files that strangers sent.

ffmpeg is told which of three demuxers to use, by what the file's first bytes are: it never guesses. So a
playlist or a script that names other files or addresses is no media, whatever it is called. It may open
files alone (no network), decode only with the codecs named here, and runs nice, within limits of time,
memory, threads and file size, in a process group and an empty folder of its own. Results appear under
their names when all of them are whole; after an error or a cancellation nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import re
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import imageio_ffmpeg

from app.services.sniff import HEAD_BYTES, sniff

if TYPE_CHECKING:
    from collections.abc import Sequence

HEIGHTS: Final = {"1080p": 1080, "720p": 720, "480p": 480}
THUMBNAIL_PX: Final = 320
"""The longer side of a thumbnail, at most."""

_DEMUXERS: Final = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/mp2t": "mpegts",
}
# What cameras, phones, browsers and editors write. Everything else that ffmpeg knows is seldom read and seldom tested.
_CODECS: Final = ",".join(
    (
        *("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "h263", "mjpeg"),
        *("prores", "aac", "mp3float", "mp3", "mp2float", "opus", "libopus", "vorbis", "ac3"),
        *("eac3", "flac", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "amrnb", "amrwb"),
    )
)
_LIMITED: Final = str(Path(__file__).with_name("limited.py"))
# One arena: each further one would take 64 MiB of the address space that the memory limit counts.
_ENVIRONMENT: Final = {"LC_ALL": "C", "MALLOC_ARENA_MAX": "1"}
_SAID_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 16 * 1024
_MAX_FPS: Final = 60
_MAX_AAC_KBPS: Final = 160
MIN_MEMORY_BYTES: Final = 256 << 20
_INTERRUPTED: Final = 255
"""How ffmpeg ends on a signal that it catches; the only one that comes is that of its processor time."""

_DURATION: Final = re.compile(r"^  Duration: (?:(\d+):(\d\d):(\d\d\.\d+)|N/A)", re.MULTILINE)
_STREAM: Final = re.compile(r"^  Stream #0:\d+[^:]*: (Video|Audio): (.*)$", re.MULTILINE)
_SIZE: Final = re.compile(r", (\d{1,6})x(\d{1,6})(?=[, \n]|$)")
_PIXEL_ASPECT: Final = re.compile(r"\bSAR (\d{1,5}):(\d{1,5})")
_ROTATION: Final = re.compile(
    r"^ +display ?matrix: rotation of (-?\d+)\.", re.MULTILINE | re.IGNORECASE
)
_AAC_RATE: Final = re.compile(r"aac \(LC\) .*, (\d+) kb/s")
_TIME: Final = re.compile(r"time=(\d+):(\d\d):(\d\d\.\d+)")
_NO_MEMORY: Final = ("Cannot allocate memory", "malloc", "Resource temporarily unavailable")


class Reason(StrEnum):
    """Why media could not be worked on."""

    NOT_MEDIA = "not_media"
    NO_VIDEO = "no_video"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    ENCODER = "encoder"
    KILLED = "killed"

    @property
    def may_pass(self) -> bool:
        """Whether another try can succeed: the machine was the reason, not the file."""
        return self is Reason.KILLED


_SENTENCES: Final = {
    Reason.NOT_MEDIA: "the file is no media that can be read",
    Reason.NO_VIDEO: "the file has no video",
    Reason.TOO_LONG: "the video lasts longer than allowed",
    Reason.TOO_LARGE: "the picture or the result is larger than allowed",
    Reason.TIMEOUT: "the work took longer than allowed",
    Reason.MEMORY: "the work needed more memory than allowed",
    Reason.ENCODER: "the encoder failed on the file",
    Reason.KILLED: "the encoder was killed",
}


class BadMediaError(Exception):
    """Media could not be worked on. The text names no path and nothing that the file says."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(_SENTENCES[reason])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of ffmpeg may take, and what a file may be.

    `time_s` is on the clock; of processor time it may be as much for each thread. `memory_bytes` counts
    address space: 350 MB suffice for a 1080p source, 512 MB for 4K.
    """

    time_s: float
    memory_bytes: int
    threads: int
    max_output_bytes: int
    max_duration_s: float = 600.0
    max_pixels: int = 4096 * 2304

    def __post_init__(self) -> None:
        """Refuse limits that no file can keep. Raises ValueError."""
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise ValueError(
                f"memory_bytes is {self.memory_bytes}; ffmpeg alone needs {MIN_MEMORY_BYTES}"
            )
        if min(self.time_s, self.threads, self.max_output_bytes) <= 0:
            raise ValueError("time_s, threads and max_output_bytes must be above 0")


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file holds. Width and height are those that a viewer sees: turned, with square pixels."""

    duration_s: float
    width: int
    height: int
    has_audio: bool
    audio_fits: bool = False
    """Whether the sound is plain AAC of a modest rate. Renditions keep it: encoding costs more than a small picture."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """A video made from another."""

    name: str
    path: Path
    height: int
    size_bytes: int


@lru_cache(maxsize=1)
def ffmpeg_path() -> str:
    """Return the program: `FFMPEG`, else the packaged one. Raises RuntimeError when there is none."""
    return os.environ.get("FFMPEG") or str(imageio_ffmpeg.get_ffmpeg_exe())


async def probe(path: Path, limits: Limits) -> MediaInfo:
    """Say what a file holds. Raises `BadMediaError`, also for what goes beyond the limits."""
    source = _source(path, limits)
    with tempfile.TemporaryDirectory() as folder:
        _, said = await _run(("-hide_banner", *source), Path(folder), limits)
        info = _read_info(said)
        if not info.duration_s:
            # Recorders in browsers do not go back to write the length: it is where the last frame ends.
            measure = ("-hide_banner", "-loglevel", "error", "-stats", *source, "-map", "0:V:0")
            code, said = await _run(
                (*measure, "-c", "copy", "-f", "null", "-"), Path(folder), limits
            )
            _check(code, said)
            info = replace(info, duration_s=_last_time_s(said))
    if info.duration_s > limits.max_duration_s:
        raise BadMediaError(Reason.TOO_LONG)
    if info.width * info.height > limits.max_pixels:
        raise BadMediaError(Reason.TOO_LARGE)
    return info


async def transcode(
    source: Path, folder: Path, limits: Limits, info: MediaInfo | None = None
) -> tuple[Rendition, ...]:
    """Make the three renditions of a video in one pass: `folder`/1080p.mp4, 720p.mp4, 480p.mp4.

    A rendition is never larger than its source: enlarging adds bytes, no detail, and costs the most. All
    three always exist, so that players need no case; of a small source they differ in quality alone.
    The same source, limits and machine give the same bytes. `info` spares a probe. Raises `BadMediaError`.
    """
    info = info or await probe(source, limits)
    sizes = {name: _fit(info, height) for name, height in HEIGHTS.items()}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".transcode-") as made:
        command = (
            *("-hide_banner", "-loglevel", "error", "-abort_on", "empty_output"),
            *("-filter_threads", "1", "-filter_complex_threads", "1"),
            # A length that the header hides is cut, not encoded.
            *("-t", f"{limits.max_duration_s + 1:g}"),
            *(*_source(source, limits), "-filter_complex", _scales(sizes)),
            *(word for name in sizes for word in _output(name, info, limits)),
        )
        code, said = await _run(command, Path(made), limits)
        _check(code, said)
        return _publish(Path(made), folder, sizes, limits)


async def thumbnail(
    source: Path, path: Path, limits: Limits, info: MediaInfo | None = None
) -> None:
    """Write the frame at a tenth of a video's length as a PNG to `path`. Raises `BadMediaError`."""
    info = info or await probe(source, limits)
    width, height = _fit_box(info, THUMBNAIL_PX)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".thumbnail-") as folder:
        made = Path(folder) / "frame.png"
        # A video of one frame has none at its tenth; then it is the first.
        for at_s in (info.duration_s / 10, 0.0):
            command = (
                *("-hide_banner", "-loglevel", "error", "-ss", f"{at_s:.3f}"),
                *(*_source(source, limits), "-map", "0:V:0", "-frames:v", "1", "-threads", "1"),
                *("-vf", f"scale={width}:{height}:flags=bicubic+accurate_rnd+bitexact,setsar=1"),
                *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
                *("-pix_fmt", "rgb24", "-c:v", "png", "-f", "image2", "-update", "1", "frame.png"),
            )
            code, said = await _run(command, Path(folder), limits)
            _check(code, said)
            if made.is_file():
                made.replace(path)
                return
    raise BadMediaError(Reason.NO_VIDEO)


def _source(path: Path, limits: Limits) -> tuple[str, ...]:
    """Return the words that open a file as what it is. Raises `BadMediaError`, FileNotFoundError."""
    if not path.is_file():  # a pipe or a device would never end
        raise FileNotFoundError(errno.ENOENT, "no such regular file", str(path))
    with path.open("rb") as stream:
        demuxer = _DEMUXERS.get(sniff(stream.read(HEAD_BYTES)) or "")
    if demuxer is None:
        raise BadMediaError(Reason.NOT_MEDIA)
    return (
        *("-threads", str(limits.threads), "-protocol_whitelist", "file", "-f", demuxer),
        *("-codec_whitelist", _CODECS, "-max_pixels", str(limits.max_pixels)),
        *("-i", f"file:{path.absolute()}"),
    )


def _output(name: str, info: MediaInfo, limits: Limits) -> tuple[str, ...]:
    encode = ("-c:a", "copy") if info.audio_fits else ("-c:a", "aac", "-b:a", "96k", "-ac", "2")
    sound = ("-map", "0:a:0", *encode) if info.has_audio else ()
    # The smaller the name, the coarser: that is all that tells the renditions of a small source apart.
    quality = {"1080p": "23", "720p": "26", "480p": "29"}[name]
    return (
        *("-map", f"[{name}]", "-c:v", "libx264", "-preset", "ultrafast", "-crf", quality),
        *("-profile:v", "baseline", "-pix_fmt", "yuv420p", "-threads", str(limits.threads)),
        *("-fpsmax", str(_MAX_FPS), *sound, "-map_metadata", "-1", "-map_chapters", "-1"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"),
        *("-movflags", "+faststart", "-f", "mp4", f"{name}.mp4"),
    )


def _scales(sizes: dict[str, tuple[int, int]]) -> str:
    split = "".join(f"[raw{name}]" for name in sizes)
    scaled = (
        f"[raw{name}]scale={width}:{height}:flags=bilinear+accurate_rnd+bitexact,setsar=1[{name}]"
        for name, (width, height) in sizes.items()
    )
    return f"[0:V:0]split={len(sizes)}{split};" + ";".join(scaled)


def _publish(
    made: Path, folder: Path, sizes: dict[str, tuple[int, int]], limits: Limits
) -> tuple[Rendition, ...]:
    bytes_of = {name: (made / f"{name}.mp4").stat().st_size for name in sizes}
    if sum(bytes_of.values()) > limits.max_output_bytes:
        raise BadMediaError(Reason.TOO_LARGE)
    return tuple(
        Rendition(
            name, (made / f"{name}.mp4").replace(folder / f"{name}.mp4"), height, bytes_of[name]
        )
        for name, (_, height) in sizes.items()
    )


def _fit(info: MediaInfo, named: int) -> tuple[int, int]:
    """Return the size in which the shorter side is `named`, or as it is when it is smaller; both even."""
    factor = min(1.0, named / min(info.width, info.height))
    return _even(info.width * factor), _even(info.height * factor)


def _fit_box(info: MediaInfo, side: int) -> tuple[int, int]:
    factor = min(1.0, side / max(info.width, info.height))
    return _even(info.width * factor), _even(info.height * factor)


def _even(pixels: float) -> int:
    return max(2, round(pixels / 2) * 2)


def _read_info(said: str) -> MediaInfo:
    """Read what `ffmpeg -i` prints. Its lines are indented by two; what the file says of itself by more."""
    length = _DURATION.search(said)
    if length is None:
        raise BadMediaError(Reason.MEMORY if _lacked_memory(said) else Reason.NOT_MEDIA)
    streams = [(kind, text) for kind, text in _STREAM.findall(said) if "(attached pic)" not in text]
    video = next((text for kind, text in streams if kind == "Video"), None)
    if video is None:
        raise BadMediaError(Reason.NO_VIDEO)
    size = _SIZE.search(video)
    if size is None:
        raise BadMediaError(Reason.NOT_MEDIA)
    width, height = int(size[1]), int(size[2])
    aspect = _PIXEL_ASPECT.search(video)
    if aspect is not None and int(aspect[1]) and int(aspect[2]):
        width = max(1, round(width * int(aspect[1]) / int(aspect[2])))
    turned = _ROTATION.search(said)
    if turned is not None and int(turned[1]) % 180:
        width, height = height, width
    duration_s = _seconds(length[1], length[2], length[3]) if length[1] else 0.0
    audio = next((text for kind, text in streams if kind == "Audio"), None)
    rate = _AAC_RATE.match(audio or "")
    fits = rate is not None and int(rate[1]) <= _MAX_AAC_KBPS
    return MediaInfo(duration_s, width, height, audio is not None, fits)


def _last_time_s(said: str) -> float:
    times = _TIME.findall(said)
    return _seconds(*times[-1]) if times else 0.0


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _check(code: int, said: str) -> None:
    """Raise what an end of ffmpeg means. A full disk is nobody's bad media: OSError."""
    if code == 0:
        return
    if "No space left on device" in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if code == -signal.SIGXFSZ or "File too large" in said:
        raise BadMediaError(Reason.TOO_LARGE)
    if code in (_INTERRUPTED, -signal.SIGXCPU):
        raise BadMediaError(Reason.TIMEOUT)
    if _lacked_memory(said):
        raise BadMediaError(Reason.MEMORY)
    if code == -signal.SIGKILL:
        raise BadMediaError(Reason.KILLED)
    raise BadMediaError(Reason.NOT_MEDIA if "Invalid data" in said else Reason.ENCODER)


def _lacked_memory(said: str) -> bool:
    return any(sign in said for sign in _NO_MEMORY)


async def _run(words: Sequence[str], folder: Path, limits: Limits) -> tuple[int, str]:
    """Run ffmpeg in `folder` and return its status and what it said at last; no part of it outlives the call."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _LIMITED, str(math.ceil(limits.time_s * limits.threads))),
        *(
            str(limits.memory_bytes),
            str(limits.max_output_bytes),
            ffmpeg_path(),
            "-nostdin",
            *words,
        ),
        cwd=folder,
        env=_ENVIRONMENT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a group of its own, which uvloop knows to make only so
    )
    assert process.stderr is not None  # noqa: S101 - it was asked for
    try:
        async with asyncio.timeout(limits.time_s):
            said = b""
            while part := await process.stderr.read(_READ_BYTES):
                said = (said + part)[-_SAID_BYTES:]
            code = await process.wait()
    except TimeoutError:
        raise BadMediaError(Reason.TIMEOUT) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return code, said.decode(errors="replace")
