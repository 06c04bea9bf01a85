"""Say what is missing on this machine, each with the command that mends it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from chaos.errors import ChaosError, UsageError
from chaos.setup.locate import tool
from chaos.setup.pins import ROOT, read_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHEELS = ("postgres", "initdb", "valkey-server", "ffmpeg")
PACKAGES = ("fastapi", "locust", "pandas", "sqlalchemy")
MIN_PYTHON = (3, 11)
MIN_CORES = 2
MIN_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a run needs: whether it is there, what was seen, and how to mend it."""

    name: str
    ok: bool
    seen: str
    mend: str = ""
    optional: bool = False


def run_doctor(echo: Callable[[str], None], *, as_json: bool) -> int:
    """Print every check; return 0 when nothing that is needed is missing, else 2."""
    checks = list(examine())
    if as_json:
        echo(json.dumps([asdict(c) for c in checks], indent=1))
    else:
        for check in checks:
            mark = "ok     " if check.ok else "absent " if check.optional else "MISSING"
            echo(
                f"{mark} {check.name:<18} {check.seen}"
                + ("" if check.ok else f"  ->  {check.mend}")
            )
    return 0 if all(c.ok or c.optional for c in checks) else UsageError.exit_code


def examine() -> Iterator[Check]:
    """Look at everything that a run needs, without changing anything."""
    yield Check(
        "python",
        sys.version_info >= MIN_PYTHON,
        platform.python_version(),
        "install Python 3.11 or newer",
    )
    for name in PACKAGES:
        yield _package(name)
    for name in (*WHEELS, *(link for pin in read_pins() for _, link in pin.binaries)):
        yield _tool(name)
    yield _writable(ROOT / ".chaosbed", "state folder")
    yield _writable(ROOT / "reports" / "runs", "run folders")
    free = shutil.disk_usage(ROOT).free
    yield Check("disk", free >= MIN_FREE_BYTES, f"{free / 1024**3:.1f} GiB free", "free 2 GiB")
    cores = os.cpu_count() or 1
    yield Check(
        "cores",
        cores >= MIN_CORES,
        str(cores),
        "expect INCONCLUSIVE runs on one core",
        optional=True,
    )
    docker = shutil.which("docker")
    yield Check(
        "docker", docker is not None, docker or "none", "only needed for Compose", optional=True
    )


def _package(name: str) -> Check:
    try:
        return Check(name, ok=True, seen=version(name))
    except PackageNotFoundError:
        return Check(name, ok=False, seen="not installed", mend="make setup")


def _tool(name: str) -> Check:
    try:
        return Check(name, ok=True, seen=str(tool(name)))
    except ChaosError as error:
        return Check(name, ok=False, seen=str(error).split(";", maxsplit=1)[0], mend="make setup")


def _writable(folder: Path, name: str) -> Check:
    place = folder
    while not place.exists():
        place = place.parent
    ok = os.access(place, os.W_OK | os.X_OK)
    return Check(name, ok=ok, seen=str(folder), mend=f"make {place} writable for you")
