"""The pinned servers of `compose/tools.toml`, read strictly."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chaos.errors import UsageError, unknown

ROOT: Final = Path(__file__).resolve().parents[2]
PINS: Final = ROOT / "compose" / "tools.toml"
LINKS: Final = ROOT / ".tools"
_KEYS: Final = frozenset({"module", "version", "packages", "binaries", "tags", "verify"})
_VERSION: Final = re.compile(r"v\d+\.\d+\.\d+\S*")


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

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def key(self) -> str:
        """What names this build in the cache: another version is another build."""
        return f"{self.name}-{self.version}"

    @property
    def folder(self) -> Path:
        """The folder in the per-user cache that holds the finished binaries."""
        return cache() / "tools" / self.key

    @property
    def targets(self) -> tuple[str, ...]:
        """What `go install` is asked for."""
        paths = (self.module if p == "." else f"{self.module}/{p}" for p in self.packages)
        return tuple(f"{path}@{self.version}" for path in paths)

    @property
    def finished(self) -> bool:
        """Whether every binary is there. A folder is renamed into place whole, so that is enough."""
        return all(os.access(self.folder / name, os.X_OK) for _, name in self.binaries)


def cache() -> Path:
    """Return the per-user cache, `$XDG_CACHE_HOME/chaosbed` or `~/.cache/chaosbed`."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is invalid and ignored.
    return (given if given.is_absolute() else Path.home() / ".cache") / "chaosbed"


def read_pins(path: Path = PINS) -> tuple[Pin, ...]:
    """Read the pins in the file's order. Raises `UsageError` naming the table and key that is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}") from error
    pins = tuple(_pin(name, table) for name, table in tables.items())
    links = [link for pin in pins for _, link in pin.binaries]
    for link in links:
        if links.count(link) > 1:
            raise UsageError(
                f"tools.toml: binary {link!r} is named by two tables; expected one, rename one of them"
            )
    return pins


def _pin(name: str, table: Any) -> Pin:  # noqa: ANN401 (whatever stands in the file)
    if not isinstance(table, dict):
        raise _wrong(name, table, f"a table [{name}]")
    for key in table:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS, where=f" in [{name}] of tools.toml")
    version = _text(name, table, "version")
    if not _VERSION.fullmatch(version):
        raise _wrong(f"{name}.version", version, "a full version such as 'v1.2.3'")
    binaries = table.get("binaries")
    if not isinstance(binaries, dict) or not binaries:
        raise _wrong(f"{name}.binaries", binaries, '{ built-name = "name in .tools" }')
    return Pin(
        name=name,
        module=_text(name, table, "module"),
        version=version,
        packages=_texts(name, table, "packages"),
        binaries=tuple((built, _text(f"{name}.binaries", binaries, built)) for built in binaries),
        tags=_texts(name, table, "tags") if "tags" in table else (),
        verify=_texts(name, table, "verify"),
    )


def _text(where: str, table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise _wrong(f"{where}.{key}", value, "a text")
    return value


def _texts(where: str, table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise _wrong(f"{where}.{key}", value, "a list of texts with at least one")
    return tuple(value)


def _wrong(where: str, value: object, expected: str) -> UsageError:
    shown = "missing" if value is None else repr(value)
    return UsageError(f"tools.toml: {where} is {shown}; expected {expected}")
