"""Write the files of a run folder as the engine does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def dump(path: Path, data: dict[str, Any]) -> None:
    """Write one JSON object."""
    path.write_text(json.dumps(data))


def lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
