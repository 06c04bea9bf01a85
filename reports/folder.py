"""The verdict of a run folder, and writing into it; all that the index over runs needs."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.model.run import RunResult

if TYPE_CHECKING:
    from pathlib import Path

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged file raises."""


def read_result(folder: Path) -> RunResult:
    """Return `run.json` as a value, or raise `UsageError` with the next step."""
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(
            f"{folder} has no run.json; expected a judged run: chaosbed judge {folder}"
        )
    try:
        return RunResult.from_json(json.loads(path.read_text("utf-8")))
    except UNREADABLE as error:
        raise UsageError(
            f"{path} is no result of a run ({error}); judge it again: chaosbed judge {folder}"
        ) from error


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one, never a half."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
