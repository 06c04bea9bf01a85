"""Building servers with the real Go, from a module proxy in a folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from chaos.errors import SetupError
from tests.setup.modules import ANSWERS, DOES_NOT_COMPILE, FAILS_WHEN_RUN, publish, write_pins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.setup.conftest import Place

pytestmark = pytest.mark.live
WITHIN_S = 60.0
SET_UP = """
import pathlib, sys
from chaos.setup.build import run_setup
pins, links = map(pathlib.Path, sys.argv[1:])
run_setup(lambda text: print(text, flush=True), pins=pins, links=links)
"""


@contextlib.contextmanager
def started(place: Place, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a set-up in a process of its own, which does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-c", SET_UP, str(place.pins), str(place.links)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # a no-op when it has ended


@pytest.fixture
def silent_proxy() -> Iterator[str]:
    """A module proxy that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_servers_are_built_verified_and_linked_once(place: Place) -> None:
    """A first set-up ends with a link that runs; a second one builds nothing."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))

    first, second = place.set_up(), place.set_up()

    link = place.links / "greeter-server"
    ran = subprocess.run([link], capture_output=True, text=True, check=True, timeout=WITHIN_S)
    assert ran.stderr == "here\n"
    assert link.readlink() == place.cache / "tools" / "greeter-v1.0.0" / "greeter-server"
    assert any("built and verified" in line for line in first)
    assert second == ["set up: 1 servers ready after 0.0 s"]
    assert not place.left_over


def test_go_caches_are_removed_once_everything_is_built(place: Place, compiled: Path) -> None:
    """What only builds need does not stay on the user's disk, and what it led to is not followed."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))
    (place.cache / "go").unlink()

    place.set_up()

    assert not (place.cache / "go").exists()
    assert compiled.is_dir()


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("mute", FAILS_WHEN_RUN, "mute-server was built and answers '--version' with exit code 2"),
        ("wrong", DOES_NOT_COMPILE, "wrong v1.0.0 did not build: .* undefined: absent"),
    ],
    ids=["fails-when-run", "does-not-compile"],
)
def test_a_server_that_cannot_be_trusted_is_never_linked(
    place: Place, name: str, source: str, expected: str
) -> None:
    """It fails in one line and leaves nothing; the other server is kept, and is not built again."""
    bad, good = publish(place.proxy, name, source), publish(place.proxy, "good", ANSWERS)
    write_pins(place.pins, bad, good)

    with pytest.raises(SetupError, match=expected) as caught:
        place.set_up()

    assert "\n" not in str(caught.value)
    assert [p.name for p in (place.cache / "tools").iterdir()] == ["good-v1.0.0"]
    assert not place.links.exists()

    write_pins(place.pins, good)
    assert place.set_up() == ["set up: 1 servers ready after 0.0 s"]


def test_a_new_version_takes_over_the_link(place: Place) -> None:
    """A link that leads to another build is replaced, not trusted."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))
    place.links.mkdir()
    (place.links / "greeter-server").symlink_to("older")

    place.set_up()

    assert (place.links / "greeter-server").readlink().is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_set_up_leaves_no_process_and_nothing_half(
    place: Place, silent_proxy: str, number: signal.Signals
) -> None:
    """Go and its compilers end with the set-up, and a later set-up finishes what was begun."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))
    with started(place, GOPROXY=silent_proxy) as setting_up:
        children = _children(setting_up)
        setting_up.send_signal(number)
        setting_up.communicate(timeout=WITHIN_S)

    assert setting_up.returncode != 0
    assert not [child for child in children if child.is_running()]
    assert not place.left_over
    place.set_up()
    assert (place.links / "greeter-server").exists()


def test_what_a_killed_set_up_left_is_swept(place: Place, silent_proxy: str) -> None:
    """After `kill -9` the lock is free and the scratch folder goes with the next set-up."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))
    with started(place, GOPROXY=silent_proxy) as setting_up:
        children = _children(setting_up)
        setting_up.kill()
        setting_up.wait(WITHIN_S)
    for child in children:
        child.kill()
    assert place.left_over

    place.set_up()

    assert not place.left_over
    assert (place.links / "greeter-server").exists()


def test_two_set_ups_at_once_build_once(place: Place) -> None:
    """The second waits for the first and takes what that one built."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))
    with started(place) as one, started(place) as other:
        said = [process.communicate(timeout=WITHIN_S)[0] for process in (one, other)]

    assert one.returncode == other.returncode == 0
    assert "".join(said).count("built and verified") == 1


def test_a_cache_that_cannot_be_written_is_one_clear_line(place: Place) -> None:
    """The line names the folder and the variable that moves it."""
    write_pins(place.pins, publish(place.proxy, "greeter", ANSWERS))
    (place.cache / "tools").write_text("a file stands in the way")

    with pytest.raises(SetupError, match=r"cannot write below .*XDG_CACHE_HOME"):
        place.set_up()


def _children(setting_up: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until Go is at work below the set-up, and return it with its children."""
    assert setting_up.stdout is not None
    for line in setting_up.stdout:
        if line.rstrip().endswith(": building"):
            break
    parent = psutil.Process(setting_up.pid)
    while setting_up.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):  # Go starts children that live a moment
            children = parent.children(recursive=True)
            if any(child.name() == "go" for child in children):
                return children
    raise AssertionError("the set-up ended before Go was at work")
