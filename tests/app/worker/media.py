"""Media for tests, made by an ffmpeg without any care."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from app.worker.ffmpeg import BadMediaError, Limits, Reason, ffmpeg_path

if TYPE_CHECKING:
    from collections.abc import Awaitable

LIMITS = Limits(time_s=60, memory_bytes=1 << 30, threads=2, max_output_bytes=64 << 20)
ROOT = Path(__file__).resolve().parents[3]
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration=2")
TONE = ("-f", "lavfi", "-i", "sine=duration=2")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def ffmpeg(*words: object) -> str:
    """Run ffmpeg without any care; return what it says."""
    command = [ffmpeg_path(), "-hide_banner", "-nostdin", "-y", *map(str, words)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return done.stderr.decode(errors="replace")


def read(path: Path) -> bytes:
    """Return what is in a file."""
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    """Return what is in a folder, hidden names too."""
    return sorted(path.name for path in folder.iterdir())


async def refused(work: Awaitable[object]) -> Reason:
    """Return why the work was refused; fail when it was not."""
    with pytest.raises(BadMediaError) as caught:
        await work
    return caught.value.reason


def running() -> list[psutil.Process]:
    """Return the encoders that this process has started and that are what they will be.

    A live origin that other tests have started has encoders of its own.
    """
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            parent = child.parent()
            of_the_origin = parent is not None and "live_origin" in " ".join(parent.cmdline())
            if "ffmpeg" in child.name() and not of_the_origin:
                found.append(child)
    return found


def command_lines() -> list[str]:
    """Return the command lines of the running encoders."""
    lines = []
    for encoder in running():
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(encoder.cmdline()))
    return lines
