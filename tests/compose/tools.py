"""Find the servers that tests run for real."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> Path:
    """Return a pinned tool; a missing one fails the test, since skipping would prove nothing."""
    linked = ROOT / ".tools" / name
    found = str(linked) if linked.exists() else shutil.which(name)
    assert found, f"{name} is not in .tools; run `make setup`"
    return Path(found)
