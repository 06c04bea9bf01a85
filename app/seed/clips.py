"""Small videos that differ: real MP4 with picture and sound, the same bytes for the same seed."""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING

from app.worker.ffmpeg import ffmpeg_path

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 30.0
_CLEF_HZ = (220, 247, 262, 294, 330, 370, 392, 440, 494, 523)


def make_clip(
    path: Path,
    *,
    seed: int,
    seconds: float = 2.5,
    size: tuple[int, int] = (320, 180),
    sound: bool = True,
) -> None:
    """Write a clip to `path`: about 50 KB for the defaults, in 0.1 s. `size` is even in both directions.

    The seed chooses colours, a moving box and the tone, so clips differ in all of their frames.
    Raises OSError and subprocess.SubprocessError when ffmpeg cannot do it.
    """
    dice = random.Random(seed)  # noqa: S311 - reproducible on purpose
    width, height = size
    colours = f"hue=h={dice.uniform(0, 360):.3f}:s={dice.uniform(0.6, 1.4):.3f}"
    box = (
        f"drawbox=x='mod({dice.randrange(width)}+t*{dice.uniform(20, 90):.3f},iw)'"
        f":y={dice.randrange(height)}:w={width // 8}:h={height // 8}"
        f":color=0x{dice.randrange(1 << 24):06x}:t=fill"
    )
    picture = f"testsrc2=size={width}x{height}:rate=15:duration={seconds:g},{colours},{box}"
    tone = f"sine=frequency={dice.choice(_CLEF_HZ)}:sample_rate=22050:duration={seconds:g}"
    audio = ("-f", "lavfi", "-i", tone, "-c:a", "aac", "-b:a", "32k", "-ac", "1") if sound else ()
    unfinished = path.with_name(f".{path.name}.tmp")
    command = [
        *(ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y"),
        *("-f", "lavfi", "-i", picture, *audio, "-threads", "1"),
        *("-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline", "-crf", "32"),
        *("-g", "30", "-pix_fmt", "yuv420p", "-map_metadata", "-1", "-fflags", "+bitexact"),
        *("-flags:v", "+bitexact", "-flags:a", "+bitexact", "-movflags", "+faststart"),
        *("-f", "mp4", str(unfinished)),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)  # noqa: S603 - our own words
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
