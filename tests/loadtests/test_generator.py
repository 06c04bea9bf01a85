"""Claims about the generator as a process, against a real server in another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from loadtests.intended import intended
from tests.loadtests.driving import (
    ROOT,
    Sleeper,
    ask,
    drive,
    generator,
    make_plan,
    server,
    wait_until,
)
from tests.loadtests.server import ANSWERED_BEFORE_HANG, STALL_S, WORLD_REQUESTS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live


def test_three_hundred_arrivals_a_second_leave_on_time(tmp_path: Path) -> None:
    """On a healthy server nothing is dropped and send lag p99 is under 10 ms beyond what the machine adds itself.

    What the machine adds is what a thread that only sleeps is late at the same time: next to nothing on an idle
    one, tens of milliseconds where neighbours take the cores.
    """
    plan = make_plan(300, 4)
    with Sleeper() as sleeper:
        load = drive(tmp_path, plan, "good")
    report = load.report()

    assert set(load.arrivals()["class"]) == {"ok"}
    assert report["finished"] is True
    assert (report["begun"], report["ended"]) == (plan.intended, plan.intended)
    assert (report["dropped"], report["censored"]) == (0, 0)
    assert 0 < report["generator_cpu"] < 0.9
    assert report["send_lag_p99_ms"] < 10 + 2 * sleeper.late_p99_ms()


def test_the_server_got_exactly_what_the_ledger_says(tmp_path: Path) -> None:
    """Each arrival is one request, with its id as X-Request-ID and as the trace of a valid traceparent."""
    plan = make_plan(100, 2)
    with server("good") as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()
        seen = ask(f"{host}/seen")[WORLD_REQUESTS:]
    arrivals = load.arrivals()

    assert sorted(s["id"] for s in seen) == sorted(arrivals["correlation_id"])
    assert arrivals["correlation_id"].is_unique
    for request in seen:
        version, trace, parent, flags = request["trace"].split("-")
        assert (version, trace, flags, len(parent)) == ("00", request["id"], "01", 16)
        assert int(parent, 16) > 0
    assert {s["asked"].split("?")[0] for s in seen} >= {
        "GET /api/v1/videos",
        "GET /api/v1/videos/trending",
    }
    assert arrivals["due_s"].tolist() == [d.due_s for d in intended(plan)]


@pytest.mark.parametrize(
    ("mode", "kind", "status"),
    [
        ("degraded", "degraded", {200, 202, 401}),
        ("lie", "error", {200, 202}),
        ("error", "error", {503}),
        ("redirect", "error", {302}),
        ("slam", "error", {0}),
        ("drip", "timeout", {0}),
    ],
)
def test_every_kind_of_answer_has_its_class(
    tmp_path: Path, mode: str, kind: str, status: set[int]
) -> None:
    """Degraded, lying, refusing, redirecting, closing and never-ending servers are told apart."""
    load = drive(tmp_path, make_plan(50, 1), mode)
    arrivals = load.arrivals()

    assert set(arrivals["class"]) == {kind}
    assert set(arrivals["status"]) == status
    assert set(arrivals["degraded"]) == ({"cache,storage"} if mode == "degraded" else {""})
    assert bool(arrivals["done_s"].isna().all()) == (status == {0})


def test_a_closing_server_is_asked_at_most_twice(tmp_path: Path) -> None:
    """A connection that was closed under a request is tried once more, and only for reads: no storm of retries."""
    plan = make_plan(50, 1)
    with server("slam") as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()
        seen = ask(f"{host}/seen")[WORLD_REQUESTS:]
    tries = {request["id"]: 0 for request in seen}
    for request in seen:
        tries[request["id"]] += 1
        assert tries[request["id"]] <= (1 if request["asked"].startswith("POST") else 2)
    assert len(tries) == plan.intended


def test_a_stall_is_seen_by_all_who_came_during_it(tmp_path: Path) -> None:
    """The server blocks for 1 s: the ledger's p95 and slow fraction are the truth that the schedule implies.

    Truth: who was due during the stall waits for its end. Closed-loop users on the same server miss most of it.
    """
    plan = make_plan(150, 5, arrivals="uniform")
    with server("good") as host, generator(tmp_path, plan, host) as load:
        load.go()
        load.begun(200)
        begin, end = (t - load.anchor for t in ask(f"{host}/stall", "POST"))
        assert load.end() == 0, load.said()
        closed = closed_loop_slow_share(host)
    due = np.array([d.due_s for d in intended(plan)])
    truth_ms = np.where((due >= begin) & (due < end), end - due, 0.0) * 1_000
    arrivals = load.arrivals()
    seen_ms = ((arrivals["done_s"] - arrivals["due_s"]) * 1_000).to_numpy()

    assert end - begin >= STALL_S
    assert set(arrivals["class"]) == {"ok"}
    truth_p95 = float(np.percentile(truth_ms, 95))
    assert truth_p95 > 600
    assert float(np.percentile(seen_ms, 95)) == pytest.approx(truth_p95, rel=0.15)
    truth_slow = float(np.mean(truth_ms > 300))
    assert float(np.mean(seen_ms > 300)) == pytest.approx(truth_slow, abs=0.03)
    assert closed < truth_slow / 3


def closed_loop_slow_share(host: str) -> float:
    """Return which share of requests two closed-loop users saw over 300 ms in eight seconds with one such stall."""
    command = [
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "ClosedLoop"),
        *("--headless", "--only-summary", "--json", "-u", "2", "-r", "2", "-t", "8s"),
        *("--host", host),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as locust:
        asked = len(ask(f"{host}/seen"))
        wait_until(lambda: len(ask(f"{host}/seen")) > asked + 20, 20, "closed-loop requests")
        ask(f"{host}/stall", "POST")
        out, _ = locust.communicate(timeout=30)
    counts: dict[float, int] = {}
    for entry in json.loads(out):
        for took_ms, n in entry["response_times"].items():
            counts[float(took_ms)] = counts.get(float(took_ms), 0) + n
    assert sum(counts.values()) > 40
    return sum(n for took_ms, n in counts.items() if took_ms > 300) / sum(counts.values())


def test_a_hanging_server_leaves_no_arrival_uncounted(tmp_path: Path) -> None:
    """After its first hundred answers it gives none: every later arrival is a timeout, none is forgotten."""
    plan = make_plan(100, 3)
    load = drive(tmp_path, plan, "hang")
    counts = load.arrivals()["class"].value_counts().to_dict()

    assert counts.pop("ok") == ANSWERED_BEFORE_HANG
    assert set(counts) <= {"timeout", "censored"}
    assert sum(counts.values()) == plan.intended - ANSWERED_BEFORE_HANG
    assert load.report()["dropped"] == 0


def test_sigterm_leaves_a_whole_ledger(tmp_path: Path) -> None:
    """Ended in the middle, it drains, accounts for every intended arrival, says it did not finish, and exits 0."""
    plan = make_plan(100, 60)
    with server("good") as host, generator(tmp_path, plan, host) as load:
        load.go()
        load.begun(100)
        load.process.send_signal(signal.SIGTERM)
        assert load.end(within_s=10) == 0, load.said()
    report, counts = load.report(), load.arrivals()["class"].value_counts().to_dict()

    assert sum(counts.values()) == plan.intended
    assert set(counts) == {"ok", "dropped"}
    assert counts["ok"] == report["begun"] == report["ended"]
    assert report["dropped"] == counts["dropped"]
    assert report["finished"] is False


def test_after_kill_9_the_ledger_can_still_be_closed(tmp_path: Path) -> None:
    """What was in flight is censored, what was not begun is dropped, and the server saw nothing that is unknown."""
    plan = make_plan(100, 60)
    with server("hang") as host, generator(tmp_path, plan, host) as load:
        load.go()
        load.begun(ANSWERED_BEFORE_HANG + 20)
        load.process.kill()
        load.end()
        seen = {s["id"] for s in ask(f"{host}/seen")[WORLD_REQUESTS:]}
    command = [sys.executable, "-m", "loadtests.ledger", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=30, capture_output=True)
    arrivals = load.arrivals()
    counts = arrivals["class"].value_counts().to_dict()

    assert sum(counts.values()) == plan.intended
    assert counts["ok"] == ANSWERED_BEFORE_HANG
    assert counts["timeout"] >= 20
    assert counts["censored"] >= 100
    assert counts["dropped"] > 5_000
    assert seen <= set(arrivals["correlation_id"])


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """When the engine is killed, the generator is gone within two seconds."""
    (tmp_path / "plan.json").write_text(json.dumps(make_plan(100, 60).to_json()))
    parent = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'loadtests', *sys.argv[1:]])\n"
        "time.sleep(60)\n"
    )
    with server("good") as host:
        arguments = ["--run-folder", str(tmp_path), "--host", host]
        with subprocess.Popen([sys.executable, "-c", parent, *arguments], cwd=ROOT) as process:
            ready = tmp_path / "load.ready"
            wait_until(ready.exists, 20, "load.ready")
            child = json.loads(ready.read_text())["pid"]
            process.kill()
        wait_until(lambda: not alive(child), 2, "the generator's end")


def alive(pid: int) -> bool:
    """Return whether a process runs; one that is dead and not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    return state.stdout.strip()[:1] not in {"", "Z"}


def test_a_full_pool_drops_and_says_so(tmp_path: Path) -> None:
    """With room for five in flight and no answers, the sixth arrival is dropped, not delayed."""
    plan = make_plan(50, 1, arrivals="uniform")
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    with server("hang") as host:
        for _ in range(ANSWERED_BEFORE_HANG + WORLD_REQUESTS):
            ask(f"{host}/api/v1/videos")
        command = [sys.executable, "-m", "tests.loadtests.small_pool", str(tmp_path), host, "5"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=30)
    subprocess.run(
        [sys.executable, "-m", "loadtests.ledger", str(tmp_path)],
        cwd=ROOT,
        check=True,
        timeout=30,
        capture_output=True,
    )
    import pandas as pd

    counts = pd.read_parquet(tmp_path / "arrivals.parquet")["class"].value_counts().to_dict()

    assert counts == {"timeout": 5, "dropped": plan.intended - 5}


@pytest.mark.parametrize(
    ("what", "code", "word"),
    [
        ("no plan", 2, "plan.json"),
        ("unknown journey", 2, "did you mean 'browse'"),
        ("no server", 4, "is the system up"),
        ("no URL", 2, "expected a URL"),
        ("used folder", 2, "expected a new run folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_sent(
    tmp_path: Path, what: str, code: int, word: str
) -> None:
    """Each mistake ends with its exit code and one line that says what to do."""
    plan = make_plan(10, 1)
    if what == "unknown journey":
        plan = make_plan(10, 1, journeys="brows")
    if what == "used folder":
        (tmp_path / "arrivals.jsonl").touch()
    with server("good") as url:
        host = {"no server": "http://127.0.0.1:9", "no URL": "localhost"}.get(what, url)
        with generator(tmp_path, plan, host) as load:
            if what == "no plan":
                (tmp_path / "plan.json").unlink()
            assert load.end(within_s=20) == code, load.said()
    assert load.said().count("\n") == 1
    assert word in load.said()
