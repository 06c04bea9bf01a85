"""`python -m app` as a process: starts fast, serves, logs, stops gracefully, refuses bad settings."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from app.seed.world import build_world
from tests.app.servers import free_port
from tests.app.system import ROOT, run_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.system import System

READY_WITHIN_S = 15.0
STOPPED_WITHIN_S = 8.0
DETAIL = f"/api/v1/videos/{build_world().videos[0].id}"


@dataclass
class Backend:
    """A running backend."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    log_file: Path

    def get(
        self, path: str, *, port: int | None = None, request_id: str = "request-of-a-test"
    ) -> tuple[int, Any, bytes]:
        """Return status, headers and body."""
        url = f"http://127.0.0.1:{port or self.port}{path}"
        request = urllib.request.Request(url, headers={"X-Request-ID": request_id})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        return [json.loads(line) for line in self.log_file.read_bytes().splitlines()]


@contextmanager
def backend(system: System, folder: Path, **environment: str) -> Iterator[Backend]:
    """Run a backend until the end of the block."""
    port, metrics_port = free_port(), free_port()
    log_file = folder / "app.log"
    own = {"PORT": str(port), "METRICS_PORT": str(metrics_port), "HEALTH_CHECK_INTERVAL_S": "0.2"}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **system.environment, **own, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    running = Backend(process, port, metrics_port, log_file)
    try:
        _wait_until_ready(running)
        yield running
    finally:
        process.kill()
        process.wait(STOPPED_WITHIN_S)


def _wait_until_ready(running: Backend) -> None:
    ends_at = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            if running.get("/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.02)
        assert running.process.poll() is None, running.log_file.read_text()
        assert time.monotonic() < ends_at, running.log_file.read_text()


def test_serves_logs_and_stops(system: System, tmp_path: Path) -> None:
    """A request's id is in its answer and its log line; metrics are on their port; SIGTERM ends it with 0."""
    with backend(system, tmp_path) as running:
        status, headers, _ = running.get(DETAIL, request_id="the-one-we-look-for")
        assert (status, headers["x-request-id"]) == (200, "the-one-we-look-for")
        assert "server" not in headers
        text = running.get("/metrics", port=running.metrics_port)[2].decode()
        assert 'route="/api/v1/videos/{video_id}",status_code="200"} 1.0' in text
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(STOPPED_WITHIN_S) == 0

    [line] = [
        line for line in running.lines() if line.get("correlation_id") == "the-one-we-look-for"
    ]
    assert (line["event"], line["route"], line["status_code"], line["outcome"]) == (
        "http_request",
        "/api/v1/videos/{video_id}",
        200,
        "ok",
    )
    for line in running.lines():
        assert {"timestamp", "level", "service", "component", "event"} <= set(line)
        assert line["level"] in {"INFO", "DEBUG"}
    assert "socialflow:socialflow" not in running.log_file.read_text()


def test_request_in_flight_ends_at_shutdown(system: System, tmp_path: Path) -> None:
    """SIGTERM during a request: new ones are refused, the one in flight is answered, then the process ends."""
    with backend(system, tmp_path, REQUEST_DEADLINE_S="1.0") as running:
        system.postgres.stop()
        try:
            answers: list[int] = []
            path = "/api/v1/videos?cursor=AAY8wEriXAA73i-hH-pYOLg22SdWQI7q"
            asking = threading.Thread(target=lambda: answers.append(running.get(path)[0]))
            asking.start()
            _wait_for_metric(running, "http_requests_in_flight 1.0")
            running.process.send_signal(signal.SIGTERM)
            _wait_until_refused(running)
            assert asking.is_alive()
            asking.join(STOPPED_WITHIN_S)
        finally:
            system.postgres.resume()
        assert answers
        assert answers[0] in {503, 504}
        assert running.process.wait(STOPPED_WITHIN_S) == 0


def _wait_until_refused(running: Backend) -> None:
    ends_at = time.monotonic() + 2.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", running.port), timeout=1).close()
        except ConnectionError:
            return
        assert time.monotonic() < ends_at, "connections are still taken"


def _wait_for_metric(running: Backend, line: str) -> None:
    ends_at = time.monotonic() + 2.0
    while line not in running.get("/metrics", port=running.metrics_port)[2].decode():
        assert time.monotonic() < ends_at, f"{line} never seen"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PORT": "many"}, "PORT='many'"),
        ({"PORT": "many", "LOG_FORMAT": "xml"}, "LOG_FORMAT='xml'"),
        ({"ENVIRONMENT": "production"}, "SECRET_KEY"),
    ],
)
def test_bad_settings(environment: dict[str, str], says: str) -> None:
    """Each mistake in the settings is one line that names the variable; exit 2 before anything starts."""
    done = run_module(environment, "app")

    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == len(environment)
    assert done.stdout == ""


def test_taken_metrics_port(system: System) -> None:
    """A metrics port that something else holds is one line and exit 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_module({**system.environment, "METRICS_PORT": port}, "app")

    assert done.returncode == 2
    assert done.stderr.startswith(f"METRICS_PORT={port}")
    assert len(done.stderr.splitlines()) == 1


def test_bucket_is_idempotent(system: System) -> None:
    """Making the bucket again changes nothing."""
    done = run_module({**system.environment, "S3_BUCKET": "another"}, "app.bucket")
    again = run_module({**system.environment, "S3_BUCKET": "another"}, "app.bucket")

    assert (done.returncode, again.returncode) == (0, 0)
    assert [json.loads(d.stdout)["made"] for d in (done, again)] == [True, False]
