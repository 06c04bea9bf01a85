"""Media work keeps its limits, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.worker.ffmpeg import (
    MediaInfo,
    Reason,
    ffmpeg_path,
    transcode,
)
from tests.app.conftest import until
from tests.app.worker.media import (
    H264,
    LIMITS,
    ROOT,
    command_lines,
    names,
    refused,
    running,
)

SHOWN = MediaInfo(60.0, 1920, 1080, has_audio=False)


async def test_what_is_too_much_is_told(tmp_path: Path, clip: Path, long_video: Path) -> None:
    """Length, picture and result have limits; the reason says which was met, and no file is left."""
    short = replace(LIMITS, max_duration_s=30)
    small = replace(LIMITS, max_pixels=320 * 180 - 1)
    tiny = replace(LIMITS, max_output_bytes=20_000)

    assert await refused(transcode(long_video, tmp_path, short)) is Reason.TOO_LONG
    assert await refused(transcode(clip, tmp_path, small)) is Reason.TOO_LARGE
    assert await refused(transcode(clip, tmp_path, tiny)) is Reason.TOO_LARGE
    # Each file is within the limit, all three are not.
    together = replace(LIMITS, max_output_bytes=200_000)
    assert await refused(transcode(clip, tmp_path, together)) is Reason.TOO_LARGE
    assert not names(tmp_path)


async def test_memory_is_limited(tmp_path: Path, long_video: Path) -> None:
    """Work that needs more memory than allowed ends with that reason and leaves nothing."""
    narrow = replace(LIMITS, memory_bytes=256 << 20)

    assert await refused(transcode(long_video, tmp_path, narrow)) is Reason.MEMORY
    assert not names(tmp_path)


async def test_time_is_limited(tmp_path: Path, long_video: Path) -> None:
    """Work that takes too long ends with that reason, and so does its process, even one that does nothing."""
    brief = replace(LIMITS, time_s=3)
    work = asyncio.create_task(transcode(long_video, tmp_path, brief, SHOWN))
    await until(lambda: bool(running()))
    running()[0].suspend()

    assert await refused(work) is Reason.TIMEOUT
    assert not running()
    assert not names(tmp_path)


async def test_processor_time_is_limited(tmp_path: Path, long_video: Path) -> None:
    """An encoder that nobody waits for ends by itself when its processor time is used up."""
    limited = ROOT / "app/worker/limited.py"
    words = (ffmpeg_path(), "-nostdin", "-i", long_video, *H264, "-f", "mp4", tmp_path / "out.mp4")
    command = [sys.executable, "-I", "-S", limited, 1, 1 << 30, 1 << 30, *words]
    done = await asyncio.to_thread(
        subprocess.run, list(map(str, command)), capture_output=True, timeout=60, check=False
    )

    assert done.returncode in (255, -signal.SIGXCPU, -signal.SIGKILL)


async def test_an_encoder_runs_within_its_limits(tmp_path: Path, long_video: Path) -> None:
    """It is nice, in a group and an empty folder of its own, with each limit in force; cancelling ends it."""
    work = asyncio.create_task(transcode(long_video, tmp_path, LIMITS, SHOWN))
    await until(lambda: bool(running()))
    (encoder,) = running()

    assert encoder.nice() == 10
    assert os.getpgid(encoder.pid) == encoder.pid
    assert Path(encoder.cwd()).parent == tmp_path
    assert not {"SECRET_KEY", "HOME", "DATABASE_URL"} & set(encoder.environ())
    if sys.platform == "linux":
        limits = {
            resource.RLIMIT_AS: LIMITS.memory_bytes,
            resource.RLIMIT_FSIZE: LIMITS.max_output_bytes,
            resource.RLIMIT_CPU: LIMITS.time_s * LIMITS.threads,
            resource.RLIMIT_CORE: 0,
        }
        for which, value in limits.items():
            assert encoder.rlimit(which)[0] == value

    encoder.suspend()  # so that nothing but being killed ends it
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not encoder.is_running()
    assert not names(tmp_path)


async def test_a_killed_encoder_is_told(tmp_path: Path, long_video: Path) -> None:
    """An encoder that something else killed is no fault of the file: another try may succeed."""
    work = asyncio.create_task(transcode(long_video, tmp_path, LIMITS, SHOWN))
    await until(lambda: bool(running()))
    running()[0].kill()

    assert await refused(work) is Reason.KILLED
    assert [reason for reason in Reason if reason.may_pass] == [Reason.KILLED]
    assert not names(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processor time is the bound")
async def test_a_killed_worker_leaves_no_encoder(tmp_path: Path, long_video: Path) -> None:
    """SIGKILL of the process that transcodes ends its encoder too."""
    script = (
        "import asyncio, sys; from pathlib import Path; from app.worker.ffmpeg import *\n"
        "asyncio.run(transcode(Path(sys.argv[1]), Path(sys.argv[2]), Limits(60, 1 << 30, 2, 1 << 28)))"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(long_video), str(tmp_path), cwd=ROOT
    )
    await until(lambda: any("1080p.mp4" in words for words in command_lines()))
    (encoder,) = running()

    worker.kill()
    await worker.wait()
    await until(lambda: not encoder.is_running() or encoder.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    "wrong", [{"memory_bytes": 1 << 20}, {"time_s": 0}, {"threads": 0}, {"max_output_bytes": -1}]
)
def test_senseless_limits_are_refused(wrong: dict[str, int]) -> None:
    """Limits that no file can keep are a mistake of the caller, told when they are made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(LIMITS, **wrong)
