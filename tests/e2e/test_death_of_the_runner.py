"""kill -9 of the runner in the fault phase leaves nothing, and on a shared stack no fault."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from chaos.engine.living import read_control
from chaos.engine.session import read_topology
from chaos.toxiproxy.client import Toxiproxy
from tests.e2e.conftest import ROOT, processes_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
GONE_WITHIN_S = 2.0
SCENARIO = ["run", "redis-down", "--out"]


def chaosbed(*arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "chaos", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_fault(out: Path, runner: subprocess.Popen[bytes]) -> None:
    """Wait until a journal below `out` says that the fault is in force."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        assert runner.poll() is None, "the run ended before its fault"
        for journal in out.glob("*/injections.jsonl"):
            if '"confirmed"' in journal.read_text():
                return
        time.sleep(0.1)
    raise AssertionError("no fault came into force")


def asked(out: Path) -> dict[str, Any]:
    """Return the journal's line that asked for the fault."""
    (journal,) = out.glob("*/injections.jsonl")
    return dict(json.loads(journal.read_text().splitlines()[0]))


def stack_record(state: Path) -> dict[str, Any]:
    """Return the record of the one stack in `state`."""
    (path,) = state.glob("stacks/*/stack.json")
    return dict(json.loads(path.read_text()))


def listening(ports: list[int]) -> list[int]:
    """Return which loopback ports accept a connection."""
    found = []
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found


def test_a_private_stack_dies_with_its_runner(tmp_path: Path) -> None:
    """2 s after kill -9 there is no child process, no load generator, no port."""
    runner = chaosbed(*SCENARIO, str(tmp_path / "runs"))
    wait_for_fault(tmp_path / "runs", runner)
    record = stack_record(tmp_path / "state")
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait(timeout=10)
    until = time.monotonic() + GONE_WITHIN_S
    left: list[object] = ["not looked yet"]
    while left and time.monotonic() < until:
        left = [
            *processes_of(f"{record['id']}/"),
            *processes_of(str(tmp_path)),
            *listening(record["ports"]),
        ]
        time.sleep(0.05)

    assert left == []


def test_a_shared_stack_is_healed_when_its_runner_dies(tmp_path: Path) -> None:
    """2 s after kill -9 no fault is in force, and the stack lives on until `chaosbed down`."""
    state = tmp_path / "state"
    assert chaosbed("up").wait(timeout=60) == 0
    try:
        runner = chaosbed(*SCENARIO, str(tmp_path / "runs"))
        wait_for_fault(tmp_path / "runs", runner)
        undo = asked(tmp_path / "runs")["undo"]
        api = Toxiproxy(undo["host"], undo["port"], within_s=2.0)
        edge = read_topology(ROOT).dependency("redis-cache")
        assert not api.proxy(edge.proxy).enabled
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait(timeout=10)
        until = time.monotonic() + GONE_WITHIN_S
        while not api.proxy(edge.proxy).clean and time.monotonic() < until:
            time.sleep(0.05)

        assert api.proxy(edge.proxy).clean
        assert read_control(state) is not None
    finally:
        assert chaosbed("down").wait(timeout=60) == 0
    assert processes_of(f"{state}") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_heals_and_says_130(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end a run healed and clean, with exit code 130."""
    runner = chaosbed(*SCENARIO, str(tmp_path / "runs"))
    wait_for_fault(tmp_path / "runs", runner)
    record = stack_record(tmp_path / "state")
    runner.send_signal(number)

    assert runner.wait(timeout=30) == 130
    assert processes_of(f"{record['id']}/") == []
    assert listening(record["ports"]) == []
    (journal,) = (tmp_path / "runs").glob("*/injections.jsonl")
    assert '"healed"' in journal.read_text()
