"""Build the pinned servers once into the per-user cache and link them into `.tools/`.

An interrupted build leaves nothing that a later one would trust: binaries are built in a folder of their own,
run once, and only then renamed into place. Go's own caches make a repeated start go on where the last one ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.errors import SetupError
from chaos.setup.go import BUILD_WITHIN_S, NEXT_STEP, GoBuilds
from chaos.setup.pins import LINKS, PINS, Pin, cache, read_pins
from chaos.setup.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

VERIFY_WITHIN_S: Final = 20.0
AT_ONCE: Final = 2
"""Two builds at once: one downloads or links, which uses one core at most, while the other compiles."""
POLL_S: Final = 0.2


def run_setup(echo: Callable[[str], None], *, pins: Path = PINS, links: Path = LINKS) -> None:
    """Build what is missing, verify it, and link all of it into `links`.

    Raises `SetupError` that says what failed and how to go on, and `KeyboardInterrupt` on SIGINT and SIGTERM, each
    after every build process has ended.
    """
    began = time.monotonic()
    wanted = read_pins(pins)
    if not all(pin.finished for pin in wanted):
        with _writable(cache()), _only_one(echo), _interruptible():
            _build_missing(wanted, echo)
    with _writable(links):
        link(wanted, links)
    echo(f"set up: {len(wanted)} servers ready after {time.monotonic() - began:.1f} s")


def link(pins: tuple[Pin, ...], links: Path = LINKS) -> None:
    """Point `links/<name>` at the finished binaries."""
    links.mkdir(parents=True, exist_ok=True)
    for pin in pins:
        for _, name in pin.binaries:
            place, target = links / name, pin.folder / name
            if place.is_symlink() and place.readlink() == target:
                continue
            part = links / f".{name}.{os.getpid()}"
            part.unlink(missing_ok=True)
            part.symlink_to(target)
            part.replace(place)


def _build_missing(pins: tuple[Pin, ...], echo: Callable[[str], None]) -> None:
    """Build under the lock. One failure does not stop the others: what they finish is kept."""
    missing = [pin for pin in pins if not pin.finished]
    if not missing:
        return  # another set-up has just built them
    echo(f"building {len(missing)} of {len(pins)} servers into {cache()}, once for this user")
    _sweep()
    builds = GoBuilds()
    with Progress(echo) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        try:  # from before the first job, for an interruption may come while jobs are handed out
            jobs = [pool.submit(_build, pin, builds, progress) for pin in missing]
            # Waited for in short steps: a signal that another thread receives does not end a long wait of this one.
            while wait(jobs, POLL_S).not_done:
                pass
        finally:
            builds.end()
            pool.shutdown(cancel_futures=True)
    errors = [error for job in jobs if (error := job.exception())]
    for error in errors:
        if not isinstance(error, SetupError):
            raise error
    if errors:
        raise SetupError("; and ".join(str(error) for error in errors))
    # Three gigabytes of sources and objects, of use only until everything is built.
    shutil.rmtree(cache() / "go", ignore_errors=True)


def _build(pin: Pin, builds: GoBuilds, progress: Progress) -> None:
    progress.begin(str(pin))
    outcome = "failed"
    try:
        with tempfile.TemporaryDirectory(dir=_tools(), prefix=f".{pin.name}-") as scratch:
            built = Path(scratch) / "bin"
            builds.install(pin, built, lambda: progress.step(str(pin)))
            for source, name in pin.binaries:
                if source != name:
                    (built / source).rename(built / name)
                _verify(built / name, pin)
            if pin.folder.exists():
                shutil.rmtree(pin.folder)
            built.rename(pin.folder)
        outcome = "built and verified"
    finally:
        progress.end(str(pin), outcome)


def _verify(binary: Path, pin: Pin) -> None:
    """Run the binary once. Raises `SetupError` when it does not answer with exit code 0."""
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
        asked = " ".join(pin.verify)
        raise SetupError(
            f"{binary.name} was built and answers {asked!r} with exit code {done.returncode}; expected 0"
        )


def _tools() -> Path:
    folder = cache() / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sweep() -> None:
    """Remove what a killed set-up left; the lock is ours, so nobody is at work in there."""
    for scratch in _tools().glob(".*"):
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Turn a folder that refuses us, or a full disk, into one line."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"cannot write below {folder}: {error.strerror or error}; make room there and make it "
            f"writable for you, or set XDG_CACHE_HOME to another folder"
        ) from error


@contextlib.contextmanager
def _only_one(echo: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache's lock, so that two set-ups at once build nothing twice. It falls with the process."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "setup.lock").open("w") as lock:
        until = time.monotonic() + BUILD_WITHIN_S
        waiting = False
        while not _locked(lock.fileno()):
            if not waiting:
                echo("another set-up is at work; waiting for it")
                waiting = True
            if time.monotonic() > until:
                raise SetupError(
                    f"another set-up held {lock.name} for {BUILD_WITHIN_S:g} s; end it, then {NEXT_STEP}"
                )
            time.sleep(POLL_S)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM end a set-up alike: with every build process ended and swept.

    SIGINT is asked for by name because a shell lets its background jobs ignore it.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
