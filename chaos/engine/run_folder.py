"""The run folder as it is written: files appended or replaced whole, never half."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where one run's evidence goes."""

    path: Path

    @staticmethod
    def create(out: Path, scenario: str, now: datetime | None = None) -> RunFolder:
        """Make `<out>/<utc>-<scenario>/`, with a number behind it when two runs start in one second."""
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        for extra in ("", *(f"-{n}" for n in range(2, 100))):
            path = out / f"{stamp}-{scenario}{extra}"
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
                (path / "logs").mkdir()
                return RunFolder(path)
        raise UsageError(
            f"{out} has 99 runs of this second; expected room for one more, use another --out"
        )

    def write_json(self, name: str, data: Any) -> None:  # noqa: ANN401 (any JSON value)
        """Write a JSON file so that a reader sees the old text or the new one."""
        part = self.path / f".{name}.part"
        part.write_text(json.dumps(data, indent=1, default=str) + "\n")
        part.replace(self.path / name)

    def append(self, name: str, lines: Iterable[dict[str, Any]]) -> None:
        """Append JSON lines."""
        with (self.path / name).open("a") as out:
            out.writelines(json.dumps(line, default=str) + "\n" for line in lines)


def check_writable(out: Path) -> None:
    """Raise `UsageError` when runs cannot be written below `out`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"--out {out} cannot be written ({error.strerror}); expected a folder of yours"
        ) from error
