"""The inference server's limits, its knob, its logs and its settings."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from app.ml_pipelines.protocol import Reason
from tests.app.log_lines import checked_lines
from tests.app.ml_pipelines.process import MODEL, Answer, ask_on, inference, question
from tests.app.ml_pipelines.schemas import conforms
from tests.app.servers import free_port
from tests.app.system import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from app.ml_pipelines.artefact import Model

WITHIN_S = 15.0


def test_a_full_server_sheds_and_a_slow_one_gives_up(artefacts: Path, model: Model) -> None:
    """Beyond the places there are it answers 503 at once; a prediction that takes too long ends in 504."""
    slow = {"ML_WORK_UNITS": "10000", "ML_DEADLINE_S": "2", "ML_MAX_IN_FLIGHT": "1"}
    with inference(artefacts, **slow) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.infer, question(model.items[:1]))
        ends_at = time.monotonic() + WITHIN_S
        while server.metric("ml_server_predictions_in_flight") != 1:
            assert time.monotonic() < ends_at
            time.sleep(0.01)
        second = server.infer(question(model.items[:1]))

        assert conforms(second, "error", 503)["reason"] == Reason.OVERLOADED
        assert second.headers["retry-after"] == "1"
        assert server.ask("GET", "/v2/health/live").status == 200
        assert conforms(first.result(WITHIN_S), "error", 504)["reason"] == Reason.DEADLINE
        assert server.metric("ml_server_predictions_in_flight") == 0


def test_the_knob_costs_processor_time(artefacts: Path, model: Model) -> None:
    """Extra work is done for each user of a batch, on the processor."""
    with inference(artefacts, ML_WORK_UNITS="50", ML_DEADLINE_S="30") as server:
        before = server.metric("process_cpu_seconds_total")
        assert server.infer(question(*[model.items[:1]] * 10)).status == 200

        # 500 units of a millisecond or so; a fifth of that on whichever machine.
        assert server.metric("process_cpu_seconds_total") - before > 0.1


def first_answer(port: int, body: object) -> Answer:
    """Ask until the server has started."""
    ends_at = time.monotonic() + WITHIN_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
        try:
            headers = {"X-Request-ID": "the-one-we-look-for"}
            return ask_on(connection, "POST", f"{MODEL}/infer", body, headers)
        except OSError:
            assert time.monotonic() < ends_at
            time.sleep(0.02)
        finally:
            connection.close()


def test_logs_carry_the_callers_id_and_it_stops_when_told(artefacts: Path, model: Model) -> None:
    """Every line is of the backend's format; a prediction's has the id that was sent; SIGTERM ends it with 0."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.ml_pipelines.server"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PORT": str(port),
            "METRICS_PORT": "0",
            "MODEL_DIR": str(artefacts),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        answer = first_answer(port, question(model.items[:1]))
        process.send_signal(signal.SIGTERM)
        lines = checked_lines(process.communicate(timeout=WITHIN_S)[0])
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(WITHIN_S)
    [line] = [line for line in lines if line["event"] == "ml_server_request"]

    assert answer.headers["x-request-id"] == line["correlation_id"] == "the-one-we-look-for"
    assert (line["route"], line["status_code"]) == ("model_infer", 200)
    assert [line["version"] for line in lines if line["event"] == "model_loaded"] == [model.version]


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({}, "MODEL_DIR"),
        ({"MODEL_DIR": ".", "PORT": "many"}, "PORT"),
        ({"MODEL_DIR": ".", "ML_DEADLINE_S": "0"}, "ML_DEADLINE_S"),
    ],
)
def test_wrong_settings_are_one_line(environment: dict[str, str], word: str) -> None:
    """What is wrong in the environment is named before anything starts."""
    done = subprocess.run(
        [sys.executable, "-m", "app.ml_pipelines.server"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{word}: ")
