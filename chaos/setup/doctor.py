"""Say what is missing on this machine, each with the command that mends it. Nothing is changed."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from chaos.errors import ChaosError, UsageError
from chaos.setup.locate import overridden, tool
from chaos.setup.pins import LINKS, ROOT, Pin, cache, read_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FROM_WHEELS: Final[dict[str, tuple[str, ...]]] = {
    "postgres": ("--version",),
    "initdb": ("--version",),
    "valkey-server": ("--version",),
    "ffmpeg": ("-version",),
}
MIN_PYTHON: Final = (3, 11)
MIN_CORES: Final = 2
GIB: Final = 1024**3
RUN_GIB: Final = 1.0
BUILD_GIB: Final = 5.0
"""While servers are built, Go's sources and objects take 3.5 GiB; they are removed at the end."""
ANSWER_WITHIN_S: Final = 10.0
SHOWN: Final = 3
# `name==1.2.3 \`, without a marker: one with a marker may not belong on this machine.
_PIN: Final = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*])?==(\S+) \\$", re.MULTILINE)


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
    needed = [check for check in checks if not check.ok and not check.optional]
    if as_json:
        echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            echo(_line(check))
        echo(f"{len(needed)} missing" if needed else "everything that a run needs is here")
    return UsageError.exit_code if needed else 0


def examine() -> Iterator[Check]:
    """Look at everything that a run needs."""
    yield Check(
        "python",
        sys.version_info >= MIN_PYTHON,
        platform.python_version(),
        "install Python 3.11 or newer, then make -B setup",
    )
    yield _packages(ROOT / "requirements.txt")
    for name, arguments in FROM_WHEELS.items():
        yield _server(name, arguments, mend="make clean setup")
    for pin in read_pins():
        for _, name in pin.binaries:
            yield _built_server(name, pin)
    yield _writable(ROOT / ".chaosbed", "state folder")
    yield _writable(ROOT / "reports" / "runs", "run folders")
    yield _disk()
    yield _cores()
    yield _docker()


def _line(check: Check) -> str:
    mark = "ok" if check.ok else "absent" if check.optional else "MISSING"
    mend = "" if check.ok else f"  ->  {check.mend}"
    return f"{mark:<8}{check.name:<18}{check.seen}{mend}"


def _packages(lock: Path) -> Check:
    """Compare what is installed with the lock."""
    pins = _PIN.findall(lock.read_text()) if lock.is_file() else []
    wrong = []
    for name, wanted in pins:
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "absent"
        if found != wanted:
            wrong.append(f"{name} {found}, expected {wanted}")
    seen = f"{len(pins)} as {lock.name} pins them"
    if wrong:
        seen = "; ".join(wrong[:SHOWN]) + (
            f"; and {len(wrong) - SHOWN} more" if wrong[SHOWN:] else ""
        )
    elif not pins:
        seen = f"{lock} is absent or pins nothing"
    return Check("python packages", ok=bool(pins) and not wrong, seen=seen, mend="make -B setup")


def _built_server(name: str, pin: Pin) -> Check:
    """Most of these do not know their version when built from a module, so the pin's is shown."""
    link = LINKS / name
    if link.is_symlink() and link.readlink() != pin.folder / name and not overridden(name):
        return Check(name, ok=False, seen=f"{link} leads to {link.readlink()}", mend="make setup")
    check = _server(name, pin.verify, mend=f"rm -r {pin.folder} && make setup")
    return replace(check, seen=pin.version) if check.ok and not overridden(name) else check


def _server(name: str, arguments: tuple[str, ...], *, mend: str) -> Check:
    """Find the server and run it once: a binary of another machine is there and does not run."""
    try:
        path = tool(name)
    except ChaosError as error:
        seen, _, next_step = str(error).rpartition("; ")
        return Check(name, ok=False, seen=seen, mend=next_step)
    code, answer = _answer([str(path), *arguments])
    if code:
        return Check(name, ok=False, seen=f"{path} does not run: {answer}", mend=mend)
    return Check(name, ok=True, seen=f"{answer} at {path}" if overridden(name) else answer)


def _writable(folder: Path, name: str) -> Check:
    place = folder
    while not place.exists():
        place = place.parent
    ok = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return Check(name, ok=ok, seen=str(folder), mend=f"make {place} a folder that you can write")


def _disk() -> Check:
    is_built = all(pin.finished for pin in read_pins())
    place, needed = (ROOT, RUN_GIB) if is_built else (_existing(cache()), BUILD_GIB)
    free = shutil.disk_usage(place).free / GIB
    return Check(
        "disk", free >= needed, f"{free:.1f} GiB free", f"free {needed:g} GiB below {place}"
    )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _cores() -> Check:
    cores = os.cpu_count() or 1
    mend = "expect INCONCLUSIVE runs: the load generator and the system share one core"
    return Check("cores", cores >= MIN_CORES, str(cores), mend, optional=True)


def _docker() -> Check:
    mend = "needed for Compose only: install Docker with Compose v2"
    docker = shutil.which("docker")
    if docker is None:
        return Check("docker compose", ok=False, seen="no docker", mend=mend, optional=True)
    code, answer = _answer([docker, "compose", "version"])
    return Check("docker compose", ok=code == 0, seen=answer, mend=mend, optional=True)


def _answer(command: list[str]) -> tuple[int, str]:
    """Return the exit code and the first line of what a command says about its version."""
    try:
        done = subprocess.run(  # noqa: S603 (servers that we installed, and docker)
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return done.returncode, lines[0] if lines else f"exit code {done.returncode}, no words"
