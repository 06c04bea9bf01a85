"""What a viewer's player gets: ffmpeg on the backend's own address, live and without the origin."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from app.seed.world import RECORDING_S, build_world
from app.worker.ffmpeg import ffmpeg_path
from tests.app.test_process import backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.system import System
    from tests.app.test_process import Backend

DEMO, STUDIO = build_world().channels
LIVE_FPS, RECORDING_FPS = 10, 15
WATCH_S = 4
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def running(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend of its own."""
    folder: Path = tmp_path_factory.mktemp("live-playback")
    with backend(system, folder) as running:
        yield running


def play(running: Backend, name: str, *limit: str) -> int:
    """Play a channel, as strictly as ffmpeg can; return how many frames came."""
    url = f"http://127.0.0.1:{running.port}/api/v1/live/{name}/index.m3u8"
    done = subprocess.run(
        [ffmpeg_path(), "-hide_banner", "-xerror", "-i", url, *limit, "-f", "null", "-"],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\berror\b|Invalid|failed", done.stderr, re.IGNORECASE), done.stderr
    return int(re.findall(r"frame= *(\d+)", done.stderr)[-1])


def until_shown(running: Backend, name: str, *, live: bool) -> None:
    """Wait until a channel shows itself, or its recording."""
    ends_at = time.monotonic() + WITHIN_S
    while True:
        status, _, body = running.get(f"/api/v1/live/{name}/index.m3u8")
        if status == 200 and (b"#EXT-X-ENDLIST" not in body) == live:
            return
        assert time.monotonic() < ends_at, body
        time.sleep(0.1)


def test_a_live_channel_plays(running: Backend) -> None:
    """A player that comes in follows the live channel over segments that did not exist when it came."""
    until_shown(running, DEMO.name, live=True)

    assert play(running, DEMO.name, "-t", str(WATCH_S)) == WATCH_S * LIVE_FPS


def test_the_recording_plays_while_the_origin_is_away(running: Backend, system: System) -> None:
    """With the origin killed the same address plays the whole last recording, and afterwards live again."""
    system.live_origin.kill()
    try:
        until_shown(running, DEMO.name, live=False)
        assert play(running, DEMO.name) == RECORDING_S * RECORDING_FPS
    finally:
        system.live_origin.start()
    until_shown(running, DEMO.name, live=True)
    assert play(running, DEMO.name, "-t", "1") == LIVE_FPS


def test_the_recording_of_a_channel_that_is_offline_plays(running: Backend) -> None:
    """A channel that is not live plays its last recording, the whole of it."""
    assert play(running, STUDIO.name) == RECORDING_S * RECORDING_FPS
