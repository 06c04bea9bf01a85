"""The pinned servers of `compose/tools.toml`, read strictly."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.errors import UsageError, unknown

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "compose" / "tools.toml"
LINKS = ROOT / ".tools"
_KEYS = {"module", "version", "packages", "binaries", "tags", "verify"}


@dataclass(frozen=True, slots=True)
class Pin:
    """One Go module and the binaries that are built from it.

    `binaries` maps the name that Go gives to the name in `.tools/`; `verify` are the arguments of the trial run.
    """

    name: str
    module: str
    version: str
    packages: tuple[str, ...]
    binaries: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    verify: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder in the per-user cache that holds the finished binaries."""
        return cache() / "tools" / f"{self.name}-{self.version}"

    @property
    def targets(self) -> tuple[str, ...]:
        """What `go install` is asked for."""
        paths = (self.module if p == "." else f"{self.module}/{p}" for p in self.packages)
        return tuple(f"{path}@{self.version}" for path in paths)


def cache() -> Path:
    """Return the per-user cache, `$XDG_CACHE_HOME/chaosbed` or `~/.cache/chaosbed`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chaosbed"


def read_pins(path: Path = PINS) -> tuple[Pin, ...]:
    """Read the pins. Raises `UsageError` naming the table and key that is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}") from error
    return tuple(_pin(name, table) for name, table in tables.items())


def _pin(name: str, table: Any) -> Pin:  # noqa: ANN401 (whatever stands in the file)
    if not isinstance(table, dict):
        raise UsageError(
            f"tools.toml: {name!r} is {type(table).__name__}; expected a table [{name}]"
        )
    for key in table:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS, where=f" in [{name}] of tools.toml")
    for key in sorted(_KEYS - {"tags"}):
        if not table.get(key):
            raise UsageError(
                f"tools.toml: [{name}] has no {key}; expected all of {', '.join(sorted(_KEYS - {'tags'}))}"
            )
    return Pin(
        name=name,
        module=str(table["module"]),
        version=str(table["version"]),
        packages=tuple(table["packages"]),
        binaries=tuple(table["binaries"].items()),
        tags=tuple(table.get("tags", ())),
        verify=tuple(table["verify"]),
    )
