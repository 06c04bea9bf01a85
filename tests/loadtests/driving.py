"""Plans, servers and generators for the claims about the load. All real, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from chaos.model.run import PhaseWindow, Plan
from chaos.model.scenario import Load, Phase
from chaos.model.schedule import schedule
from loadtests.journeys import EVERYDAY, LOGINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
LEAD_S = 0.3


def make_plan(
    rate_rps: float,
    duration_s: float,
    *,
    arrivals: str = "poisson",
    journeys: str = "",
    seed: int = 3,
) -> Plan:
    """Return a plan of two phases whose lengths are no binary fractions, as they may be."""
    first = duration_s * 0.3
    mix = tuple(
        (name, 1.0) for name in journeys.split() or sorted(j.name for j in (*EVERYDAY, *LOGINS))
    )
    phases = (Phase("before", first), Phase("after", duration_s - first))
    load = Load(rate_rps, mix, "uniform" if arrivals == "uniform" else "poisson")
    windows = (
        PhaseWindow("before", 0.0, first, 1.0),
        PhaseWindow("after", first, duration_s, 1.0),
    )
    return Plan(
        scenario="load-test",
        claim="none",
        seed=seed,
        time_scale=60,
        runtime="local",
        rate_rps=rate_rps,
        arrivals=arrivals,
        journeys=mix,
        phases=windows,
        intended=len(schedule(load, phases, seed)),
        topology_digest="",
        anchor_wall=0.0,
        anchor_monotonic=0.0,
    )


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait for a condition; fail in words when it does not come."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {within_s:g} s"
        time.sleep(0.01)


@contextmanager
def server(mode: str) -> Iterator[str]:
    """Run the small server and yield its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.loadtests.server", mode],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def ask(url: str, method: str = "GET", body: object = None, **headers: str) -> Any:
    """Return the JSON that a URL answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    request.method = method
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())


class Sleeper(threading.Thread):
    """A thread that only sleeps, and knows how late it is woken: what the machine itself adds to any schedule."""

    def __init__(self) -> None:
        """Prepare to sleep in steps of three milliseconds, the gap of 300 arrivals a second."""
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.late_ms: list[float] = []

    def run(self) -> None:
        """Sleep until told to stop."""
        due = time.monotonic()
        while not self.stop.is_set():
            due = max(due + 0.003, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0))
            self.late_ms.append((time.monotonic() - due) * 1_000)

    def late_p99_ms(self) -> float:
        """Return the 99th percentile of its lateness."""
        return sorted(self.late_ms)[int(0.99 * (len(self.late_ms) - 1))]

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.stop.set()
        self.join(timeout=5)


@dataclass
class Generator:
    """A load generator at work on a run folder."""

    folder: Path
    plan: Plan
    process: subprocess.Popen[bytes]
    anchor: float = 0.0

    def go(self) -> None:
        """Wait until it is ready, and give the start."""
        ready = self.folder / "load.ready"
        wait_until(lambda: ready.exists() or self.process.poll() is not None, 20, "load.ready")
        assert ready.exists(), self.said()
        self.anchor = time.monotonic() + LEAD_S
        part = self.folder / "part"
        part.write_text(json.dumps({"anchor_monotonic": self.anchor}))
        part.replace(self.folder / "load.go")

    def begun(self, count: int) -> None:
        """Wait until so many arrivals have ended."""
        ledger = self.folder / "arrivals.jsonl"
        wait_until(lambda: ledger.read_bytes().count(b'"end"') >= count, 20, f"{count} ends")

    def end(self, within_s: float = 30) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(timeout=within_s)

    def said(self) -> str:
        """Return what it wrote."""
        return (self.folder / "log").read_text()

    def report(self) -> dict[str, Any]:
        """Return its own report."""
        return dict(json.loads((self.folder / "generator.json").read_text()))

    def arrivals(self) -> pd.DataFrame:
        """Return the account of every arrival, as the engine reads it."""
        return pd.read_parquet(self.folder / "arrivals.parquet")


@contextmanager
def generator(folder: Path, plan: Plan, host: str) -> Iterator[Generator]:
    """Start a generator; it is ended when the test is."""
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(replace(plan, anchor_wall=time.time()).to_json()))
    command = [sys.executable, "-m", "loadtests", "--run-folder", str(folder), "--host", host]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            yield Generator(folder, plan, process)
        finally:
            process.kill()


def drive(folder: Path, plan: Plan, mode: str) -> Generator:
    """Run a whole plan against a server of this mode."""
    with server(mode) as host, generator(folder, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()
    return load
