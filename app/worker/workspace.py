"""A folder for one piece of work. What a killed worker leaves behind is found by its lock, which dies with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "work-"
MIN_AGE_S = 5.0
"""A folder is locked the moment after it is made; until then it must not be taken for left behind."""


@contextmanager
def workspace(root: Path) -> Iterator[Path]:
    """Give an empty folder in `root`, and remove it at the end."""
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep(root: Path, *, min_age_s: float = MIN_AGE_S) -> int:
    """Remove the folders in `root` that nobody works in; return how many there were. Blocking."""
    swept = 0
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            swept += _remove_if_left(folder, min_age_s)
    return swept


def _remove_if_left(folder: Path, min_age_s: float) -> bool:
    if time.time() - folder.stat().st_mtime < min_age_s:
        return False
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(handle)
    return True
