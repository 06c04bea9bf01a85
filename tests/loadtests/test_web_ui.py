"""Claims about Locust's web UI on a living stack: both users, the rate, the Faults tab, and its limits."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.loadtests.driving import ROOT, ask, server, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.live


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web_ui(host: str, control: Path, *more: str) -> Iterator[str]:
    """Run Locust as `chaosbed loadtest` does and yield its URL."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--class-picker"),
        *("--host", host, "--web-host", "127.0.0.1", "--web-port", str(port), *more),
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "CHAOSBED_CONTROL": str(control)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or answers(url), 20, "the web UI")
            yield url
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=15)
        finally:
            process.kill()


def answers(url: str) -> bool:
    """Return whether anything answers there."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def swarm(url: str, **fields: str) -> Any:
    """Start or change a load, as the page's form does."""
    data = urllib.parse.urlencode({"user_count": "1", "spawn_rate": "1", **fields}).encode()
    with urllib.request.urlopen(f"{url}/swarm", data, timeout=10) as response:
        return json.loads(response.read())


def rows(url: str) -> dict[str, str]:
    """Return the Faults tab's table as the page gets it."""
    stats = ask(f"{url}/stats/requests")
    (tab,) = stats["extended_stats"]
    return {row["what"]: row["now"] for row in tab["data"]}


def ended(url: str) -> int:
    """Return how many arrivals the tab counts in its last seconds."""
    words = rows(url)["Arrivals, last 10 s"].split()
    return sum(int(w) for w in words if w.isdigit())


def test_the_page_offers_both_users_the_rate_and_the_tab(tmp_path: Path) -> None:
    """What people choose from is on the page, with a bounded run time as its default."""
    with server("good") as host, web_ui(host, tmp_path / "none.json") as url:
        with urllib.request.urlopen(url, timeout=5) as response:
            page = response.read().decode()
        with urllib.request.urlopen(f"{url}/chaos/panel.js", timeout=5) as response:
            script = response.read().decode()

    for word in ('"OpenLoop"', '"ClosedLoop"', '"rate"', '"key": "faults"', '"run_time": 600'):
        assert word in page
    assert "chaos/panel.js" in page
    assert "Heal all" in script


def test_open_loop_runs_at_a_rate_that_can_be_changed(tmp_path: Path) -> None:
    """150 arrivals a second come at 150, and after the rate is edited at the new one, without a restart."""
    with server("good") as host, web_ui(host, tmp_path / "none.json") as url:
        assert swarm(url, user_classes="OpenLoop", rate="150")["success"]
        wait_until(lambda: ended(url) > 1_200, 25, "ten seconds of the higher rate")
        at_first = ended(url)
        assert swarm(url, user_classes="OpenLoop", rate="10")["success"]
        wait_until(lambda: 0 < ended(url) < 250, 25, "the lower rate")
        table = rows(url)
        stats = ask(f"{url}/stats/requests")

    assert at_first < 1_800
    assert table["Bad fraction, last 10 s"] == "0.00 %"
    assert table["Send lag p99, last 10 s"].endswith(" ms")
    assert stats["user_count"] == 1
    assert {s["name"] for s in stats["stats"]} >= {"/api/v1/videos/{video_id}/views"}


def test_closed_loop_is_counted_by_the_same_oracles(tmp_path: Path) -> None:
    """Visitors who wait for their answers show up in the same table, and lies are errors for them too."""
    with server("lie") as host, web_ui(host, tmp_path / "none.json") as url:
        assert swarm(url, user_classes="ClosedLoop", user_count="5", spawn_rate="5")["success"]
        wait_until(lambda: ended(url) > 20, 20, "requests")

        assert rows(url)["Bad fraction, last 10 s"] == "100.00 %"
        assert rows(url)["Arrivals, last 10 s"].endswith(" error")


def test_without_a_living_stack_the_tab_says_so(tmp_path: Path) -> None:
    """No control file: the load works, the tab names the command, and injecting is refused in words."""
    with server("good") as host, web_ui(host, tmp_path / "none.json") as url:
        wait_until(lambda: "chaosbed up" in rows(url)["Fault in force"], 10, "the tab's word")
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{url}/chaos/inject", "POST", {"fault": "refuse redis-cache"})

        with refused.value as answer:
            assert answer.code == 502
            assert "chaosbed up" in json.loads(answer.read())["error"]


def test_faults_are_injected_shown_and_healed(tmp_path: Path) -> None:
    """The buttons reach the living stack's control API with its token, and the table follows."""
    control = tmp_path / "control.json"
    with server("good") as host:
        control.write_text(json.dumps({"url": host, "token": "secret", "pid": 1}))
        with web_ui(host, control) as url:
            wait_until(lambda: rows(url)["Fault in force"] == "none", 10, "a healthy stack")
            fault = "refuse redis-cache for=30s"
            assert ask(f"{url}/chaos/inject", "POST", {"fault": fault})["fault"] == fault
            assert ask(f"{url}/chaos/status")["faults"] == [fault]
            wait_until(lambda: rows(url)["Fault in force"] == fault, 10, "the fault in the table")
            assert ask(f"{url}/chaos/heal", "POST", {})["residue"] == []
            assert ask(f"{url}/chaos/status")["faults"] == []
            for body, word in (({"fault": "burn it"}, "unknown fault"), ({}, "no fault")):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    ask(f"{url}/chaos/inject", "POST", body)
                with refused.value as answer:
                    assert answer.code == 400
                    assert word in json.loads(answer.read())["error"]


@pytest.mark.parametrize(
    "header", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}]
)
def test_no_other_page_can_break_the_stack(tmp_path: Path, header: dict[str, str]) -> None:
    """A request from another origin, or to a name that only leads here, is refused."""
    with server("good") as host, web_ui(host, tmp_path / "none.json") as url:
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{url}/chaos/heal", "POST", {}, **header)
        with refused.value as answer:
            assert answer.code == 403


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    """Asked to listen everywhere, it ends with a usage error instead."""
    command = [
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py"),
        *("--host", "http://127.0.0.1:9", "--web-host", "0.0.0.0", "--web-port", str(free_port())),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert "expected 127.0.0.1" in done.stderr
