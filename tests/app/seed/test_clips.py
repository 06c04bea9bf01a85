"""Clips are small, real, the same for the same seed, and different for each."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from app.seed.clips import make_clip
from app.worker.ffmpeg import Limits, probe

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(time_s=30, memory_bytes=1 << 30, threads=1, max_output_bytes=1 << 20)


def names(folder: Path) -> set[str]:
    """Return what is in a folder, hidden names too."""
    return {path.name for path in folder.iterdir()}


async def test_clips_are_small_valid_and_distinct(tmp_path: Path) -> None:
    """Ten seeds give ten different clips of 30 to 70 KB that hold what was asked for."""
    paths = [tmp_path / f"{seed}.mp4" for seed in range(10)]
    for seed, path in enumerate(paths):
        make_clip(path, seed=seed)
        info = await probe(path, LIMITS)
        assert (info.width, info.height, info.has_audio) == (320, 180, True)
        assert info.duration_s == pytest.approx(2.5, abs=0.1)
        assert 30_000 < path.stat().st_size < 70_000
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in paths}) == len(paths)
    assert names(tmp_path) == {path.name for path in paths}


def test_a_seed_is_a_clip(tmp_path: Path) -> None:
    """The same seed and shape give the same bytes."""
    for name in ("first", "second"):
        make_clip(tmp_path / name, seed=7, seconds=1, size=(160, 90), sound=False)

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_clip_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    """A length that cannot be raises, and no half a file is left."""
    with pytest.raises(subprocess.SubprocessError):
        make_clip(tmp_path / "clip.mp4", seed=1, seconds=-1)
    assert not names(tmp_path)
