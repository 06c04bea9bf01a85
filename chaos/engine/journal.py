"""The fault journal: written ahead and fsynced before a fault acts, so that anybody can undo it later.

`injections.jsonl` holds one JSON object a line: `id`, `event`, `t_s` (the run's clock), `wall` (Unix seconds), and

- `asked`: `fault`, `phase`, `undo` (what `Injector.undo_record` returns), `lease_until_wall`; before the fault acts
- `confirmed`: the state reads back as asked
- `witnessed`: `witness`
- `healing`: the runner undoes it and will be done at `until_wall`; before the undo acts. `by_force`: by the last
  resort, `because` the gentle way failed
- `healed`: undone, and proved by use; `by` is "watchdog" when the runner could not
- `problem`: `problem`, in words

Standard library only, because the watchdog reads and writes it too.
"""

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
JOURNAL_FILE = "injections.jsonl"


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one run, with `now_s` as the run's clock."""

    path: Path
    now_s: Callable[[], float]

    def write(self, injection: str, event: str, **more: Any) -> float:  # noqa: ANN401 (JSON values)
        """Append one line, on disk when this returns, and return its time in seconds. Raises `OSError`."""
        t_s = self.now_s()
        head = {"id": injection, "event": event, "t_s": round(t_s, 4), "wall": time.time()}
        append(self.path, {**head, **more})
        return t_s


def append(path: Path, line: Line) -> None:
    """Append one whole line and wait until it is on disk. Raises `OSError`, as on a full disk."""
    data = (json.dumps(line) + "\n").encode()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            # A writer died in the middle of its line; glued to it, this one would be lost as well.
            data = b"\n" + data
        while data:
            data = data[os.write(handle, data) :]
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
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and {"id", "event"} <= line.keys():
            lines.append(line)
    return lines


def open_injections(path: Path) -> list[Line]:
    """Return the `asked` lines of what was not healed, the latest first: the order to heal in.

    Each has `lease_until_wall` moved to the end that a later `healing` line announced.
    """
    asked: dict[str, Line] = {}
    for line in read(path):
        if line["event"] == "asked":
            asked[line["id"]] = dict(line)
        elif line["event"] == "healed":
            asked.pop(line["id"], None)
        elif line["event"] == "healing" and line["id"] in asked:
            known = asked[line["id"]]
            known["lease_until_wall"] = max(known["lease_until_wall"], line["until_wall"])
    return list(reversed(asked.values()))
