"""Claims about the generator as a whole, against a real server in another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chaos.model.run import Plan
from loadtests.ledger import intended
from tests.loadtests.test_ledger import make_plan

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.live


@contextmanager
def server(mode: str) -> Iterator[str]:
    """Run the small server and yield its URL."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.loadtests.server", mode], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
    finally:
        child.kill()
        child.wait(timeout=10)
        child.stdout.close()


def start(folder: Path, plan: Plan, host: str) -> subprocess.Popen[bytes]:
    """Start the generator, wait until it is ready and give it the start."""
    (folder / "plan.json").write_text(json.dumps(plan.to_json()))
    with (folder / "err").open("wb") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "loadtests", "--run-folder", str(folder), "--host", host],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=err,
        )
    until = time.monotonic() + 20
    while not (folder / "load.ready").exists():
        assert child.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
    part = folder / "go.part"
    part.write_text(json.dumps({"anchor_monotonic": time.monotonic() + 0.3}))
    part.replace(folder / "load.go")
    return child


def drive(folder: Path, plan: Plan, mode: str) -> tuple[pd.DataFrame, dict[str, object]]:
    """Run a whole plan against a server and return (arrivals, generator's report)."""
    with server(mode) as host:
        assert start(folder, plan, host).wait(timeout=60) == 0, (folder / "err").read_text()
    report = json.loads((folder / "generator.json").read_text())
    return pd.read_parquet(folder / "arrivals.parquet"), report


def test_a_healthy_server_gives_only_ok_arrivals(tmp_path: Path) -> None:
    """Every intended arrival is sent on time, answered and accounted for."""
    plan = make_plan(200, 3.0, "poisson")
    frame, report = drive(tmp_path, plan, "healthy")

    assert set(frame["class"]) == {"ok"}
    assert len(frame) == len(intended(plan)) == plan.intended
    assert report["finished"] is True
    assert report["dropped"] == report["censored"] == 0


def test_degraded_answers_and_lies_have_classes_of_their_own(tmp_path: Path) -> None:
    """X-Degraded makes an arrival degraded, a wrong body makes it an error."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    degraded, _ = drive(tmp_path / "a", make_plan(50, 1.0), "degraded")
    lies, _ = drive(tmp_path / "b", make_plan(50, 1.0), "liar")

    assert set(degraded["class"]) == {"degraded"}
    assert set(degraded["degraded"]) == {"cache,storage"}
    by_journey = lies.groupby("journey")["class"].unique().to_dict()
    assert set(by_journey["watch_page"]) == set(by_journey["view"]) == {"error"}
    assert set(by_journey["trending"]) == {"ok"}


def test_a_stall_is_seen_by_every_arrival_that_it_delayed(tmp_path: Path) -> None:
    """A loop blocked for 1 s delays about the arrivals of that second; closed-loop load would see one or two."""
    frame, _ = drive(tmp_path, make_plan(200, 5.0), "stall")
    late = (frame["done_s"] - frame["due_s"]).to_numpy() > 0.1

    assert set(frame["class"]) == {"ok"}
    assert 150 <= int(np.sum(late)) <= 260


def test_a_server_that_hangs_leaves_no_arrival_uncounted(tmp_path: Path) -> None:
    """What is never answered is a timeout or censored, and counts as bad."""
    plan = make_plan(100, 5.0)
    frame, report = drive(tmp_path, plan, "hang")
    counts = frame["class"].value_counts().to_dict()

    assert sum(counts.values()) == plan.intended
    assert 180 <= counts["ok"] <= 220
    assert counts.get("timeout", 0) + counts.get("censored", 0) == plan.intended - counts["ok"]
    assert report["begun"] == plan.intended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_generator_ended_early_still_accounts_for_everything(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGTERM it closes its ledger itself; after SIGKILL `python -m loadtests.ledger` does."""
    plan = make_plan(100, 30.0)
    with server("healthy") as host:
        child = start(tmp_path, plan, host)
        until = time.monotonic() + 20
        while not (tmp_path / "arrivals.jsonl").exists() or (tmp_path / "arrivals.jsonl").stat().st_size < 20_000:
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(child.pid, number)
        child.wait(timeout=20)
    if number is signal.SIGKILL:
        subprocess.run([sys.executable, "-m", "loadtests.ledger", str(tmp_path)], cwd=ROOT, check=True, timeout=30)
    frame = pd.read_parquet(tmp_path / "arrivals.parquet")
    counts = frame["class"].value_counts().to_dict()

    assert sum(counts.values()) == plan.intended
    assert counts["ok"] > 50
    assert counts["dropped"] > 1_000
