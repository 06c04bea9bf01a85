"""Sources that many claims share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.seed.clips import make_clip
from tests.app.worker.media import ffmpeg

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clip with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, seed=1)
    return path


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of 1080p: minutes of work, made of one second by copying."""
    folder = tmp_path_factory.mktemp("long")
    make_clip(folder / "second.mp4", seed=2, size=(1920, 1080), seconds=1, sound=False)
    ffmpeg("-stream_loop", 59, "-i", folder / "second.mp4", "-c", "copy", folder / "long.mp4")
    return folder / "long.mp4"
