"""The fault journal: written ahead and fsynced before a fault acts, so that anybody can undo it later."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """Appends lines `{id, event, t_s, wall, ...}` to `injections.jsonl`; see `injections_from_journal`."""

    path: Path
    now_s: Callable[[], float]

    def write(self, injection: str, event: str, **more: Any) -> float:  # noqa: ANN401 (JSON values)
        """Append one line, on disk when this returns, and return its time in seconds."""
        t_s = self.now_s()
        append(
            self.path,
            {"id": injection, "event": event, "t_s": round(t_s, 4), "wall": time.time(), **more},
        )
        return t_s


def append(path: Path, line: Line) -> None:
    """Append one whole line and wait until it is on disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> list[Line]:
    """Read every whole line; one that a crash cut off is left out."""
    if not path.exists():
        return []
    lines: list[Line] = []
    for raw in path.read_bytes().splitlines():
        try:
            lines.append(json.loads(raw))
        except ValueError:
            continue
    return lines


def open_injections(path: Path) -> list[Line]:
    """Return the `asked` lines of the injections that were not healed, the latest first: the order to heal in."""
    asked: dict[str, Line] = {}
    for line in read(path):
        if line["event"] == "asked":
            asked[line["id"]] = line
        elif line["event"] == "healed":
            asked.pop(line["id"], None)
    return list(reversed(asked.values()))
