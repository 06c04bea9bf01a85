"""The inference server as a process: it speaks the protocol, holds its limits, and exchanges models while it answers."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from app.ml_pipelines.artefact import deploy, write
from app.ml_pipelines.bad import Bad, deploy_bad, restore
from app.ml_pipelines.bad import main as bad_main
from app.ml_pipelines.protocol import MAX_BODY_BYTES, Reason
from app.ml_pipelines.training import train_seeded
from tests.app.log_lines import checked_lines
from tests.app.ml_pipelines.process import (
    MODEL,
    REPOSITORY,
    Answer,
    Inference,
    ask_on,
    inference,
    question,
    tensor,
)
from tests.app.servers import free_port
from tests.app.system import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from app.ml_pipelines.artefact import Model

WITHIN_S = 15.0
TEXT = {"type": "string"}
TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": TEXT,
        "datatype": {"enum": ["BYTES", "FP32", "INT32"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    },
}
# Written down from the protocol's own document; each may have more keys only where the protocol lets it.
SCHEMAS: dict[str, dict[str, Any]] = {
    "server_metadata": {
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": TEXT,
            "version": TEXT,
            "extensions": {"type": "array", "items": TEXT},
        },
        "additionalProperties": False,
    },
    "live": {"required": ["live"], "properties": {"live": {"type": "boolean"}}},
    "model_metadata": {
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"const": "recommendations"},
            "versions": {"type": "array", "items": TEXT, "minItems": 1},
            "platform": TEXT,
            "inputs": {"type": "array", "items": TENSOR},
            "outputs": {"type": "array", "items": TENSOR},
        },
    },
    "model_ready": {
        "required": ["name", "ready"],
        "properties": {"name": {"const": "recommendations"}, "ready": {"type": "boolean"}},
        "additionalProperties": False,
    },
    "infer": {
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"const": "recommendations"},
            "model_version": TEXT,
            "id": TEXT,
            "parameters": {"type": "object"},
            "outputs": {
                "type": "array",
                "items": {
                    **TENSOR,
                    "required": ["name", "datatype", "shape", "data"],
                    "properties": {**TENSOR["properties"], "data": {"type": "array"}},  # type: ignore[dict-item]
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    },
    "error": {
        "required": ["error", "reason"],
        "properties": {"error": TEXT, "reason": {"enum": list(Reason)}},
        "additionalProperties": False,
    },
}


def conforms(answer: Answer, schema: str, status: int = 200) -> Any:
    """Return the content of an answer that is as the protocol says."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    Draft202012Validator({"type": "object", **SCHEMAS[schema]}).validate(answer.content)
    return answer.content


def test_all_routes_answer_as_the_protocol_says(served: Inference, model: Model) -> None:
    """The six routes, with and without a version in the path, have the protocol's answers."""
    version = f"{MODEL}/versions/{model.version}"

    assert "model_repository" in conforms(served.ask("GET", "/v2"), "server_metadata")["extensions"]
    conforms(served.ask("GET", "/v2/"), "server_metadata")
    assert conforms(served.ask("GET", "/v2/health/live"), "live")["live"]
    assert conforms(served.ask("GET", "/v2/health/ready"), "live")["ready"]
    for path in (MODEL, version):
        metadata = conforms(served.ask("GET", path), "model_metadata")
        assert metadata["versions"] == [model.version]
        assert conforms(served.ask("GET", f"{path}/ready"), "model_ready")["ready"]
        answer = served.ask("POST", f"{path}/infer", question(model.items[:4], id="7"))
        content = conforms(answer, "infer")
        assert (content["id"], content["model_version"]) == ("7", model.version)
        told = {each["name"]: each["datatype"] for each in metadata["outputs"]}
        assert {each["name"]: each["datatype"] for each in content["outputs"]} == told


def test_tensors_hold_what_their_shapes_say(served: Inference, model: Model) -> None:
    """Items, scores and what was known have a row a user, as many as asked for, of the catalogue, finite, unseen."""
    answer = served.infer(question(model.items[:6], model.items[9:11], k=7))
    items, scores = answer.output("items"), answer.output("scores")

    assert items["shape"] == scores["shape"] == [2, 7]
    assert len(items["data"]) == len(scores["data"]) == 14
    assert set(items["data"]) <= set(model.items)
    assert not set(items["data"][:7]) & set(model.items[:6])
    assert all(isinstance(score, float) for score in scores["data"])
    assert answer.output("known") == tensor("known", "INT32", [2], [6, 2])


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/", 404, Reason.NOT_FOUND),
        ("GET", "/v2/models", 404, Reason.NOT_FOUND),
        ("GET", "/v2/models/other", 404, Reason.NOT_FOUND),
        ("GET", "/v2/models/other/ready", 404, Reason.NOT_FOUND),
        ("POST", "/v2/models/other/infer", 404, Reason.NOT_FOUND),
        ("POST", "/v2/repository/models/other/load", 404, Reason.NOT_FOUND),
        ("GET", f"{MODEL}/versions/9", 404, Reason.NOT_FOUND),
        ("GET", f"{MODEL}/infer", 405, Reason.METHOD),
        ("DELETE", MODEL, 405, Reason.METHOD),
    ],
)
def test_what_is_not_there_is_an_error_object(
    served: Inference, method: str, path: str, status: int, reason: Reason
) -> None:
    """Unknown paths, models, versions and methods have the protocol's error object."""
    assert conforms(served.ask(method, path), "error", status)["reason"] == reason


def test_a_version_that_is_not_served_is_not_ready(served: Inference, model: Model) -> None:
    """Asked for by version, readiness is of that version, and predictions of another are not found."""
    answer = served.ask("GET", f"{MODEL}/versions/other/ready")

    assert not conforms(answer, "model_ready", 503)["ready"]
    assert conforms(served.infer(question(model.items[:2]), "other"), "error", 404)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", Reason.BAD_JSON),
        (b'{"inputs": [NaN]}', Reason.BAD_JSON),
        ({"inputs": [tensor("history", "BYTES", [2**62, 2], [])]}, Reason.BAD_TENSOR),
        (question(("unknown", "items")), Reason.UNKNOWN_ITEMS),
        (question(("a",), k=51), Reason.BAD_TENSOR),
        (question(*[("a",)] * 33), Reason.BAD_TENSOR),
    ],
)
def test_hostile_tensors_get_400(served: Inference, body: object, reason: Reason) -> None:
    """Wrong shapes, huge ones, NaN, unknown ids and too large batches are refused; the server goes on."""
    assert conforms(served.infer(body), "error", 400)["reason"] == reason
    assert served.ask("GET", "/v2/health/ready").status == 200


def test_large_bodies_are_refused(served: Inference) -> None:
    """A body beyond the limit gets 413, whether it says its length or not, and is not kept."""
    assert conforms(served.infer(b" " * (MAX_BODY_BYTES + 1)), "error", 413)
    connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=WITHIN_S)
    try:
        chunks = (b" " * 65_536 for _ in range(9))
        connection.request("POST", f"{MODEL}/infer", chunks, encode_chunked=True)
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_a_body_that_never_comes_is_not_waited_for(served: Inference) -> None:
    """Who says a length and sends less is answered, not held."""
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=WITHIN_S) as client:
        client.sendall(
            f"POST {MODEL}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode()
        )
        assert client.recv(64).startswith(b"HTTP/1.1 400 ")


def test_binary_tensors_are_refused(served: Inference, model: Model) -> None:
    """What is an extension of other servers is refused and not misread."""
    headers = {"Inference-Header-Content-Length": "10"}
    answer = served.ask("POST", f"{MODEL}/infer", question(model.items[:1]), headers)

    assert conforms(answer, "error", 400)


def test_requests_are_counted_with_their_version(served: Inference, model: Model) -> None:
    """Requests, latency and the served version are on the metrics port, the children from the start."""
    line = 'ml_server_requests_total{route="model_infer",status_code="200"}'
    latency = 'ml_server_latency_seconds_count{route="model_infer"}'
    before, timed = served.metric(line), served.metric(latency)
    served.infer(question(model.items[:1]))

    assert served.metric(line) == before + 1
    assert served.metric(latency) == timed + 1
    assert served.metric(f'ml_model_info{{version="{model.version}"}}') == 1
    assert served.metric("ml_model_created_timestamp_seconds") == pytest.approx(
        model.created_at.timestamp(), abs=1
    )
    assert served.metric('ml_server_requests_total{route="model_infer",status_code="504"}') == 0
    assert served.metric('ml_model_loads_total{result="checksum"}') == 0


def test_repository_says_what_is_loaded(artefacts: Path, model: Model) -> None:
    """Index, unload and load: what is unloaded is not ready and says so, and comes back."""
    with inference(artefacts) as server:
        [entry] = server.ask("POST", "/v2/repository/index").content
        assert entry == {
            **{"name": "recommendations", "version": model.version},
            **{"state": "READY", "reason": ""},
        }
        assert server.ask("POST", f"{REPOSITORY}/unload", {}).status == 200
        [entry] = server.ask("POST", "/v2/repository/index", {"ready": False}).content
        assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "unloaded")
        assert server.ask("POST", "/v2/repository/index", {"ready": True}).content == []
        assert not conforms(server.ask("GET", "/v2/health/ready"), "live", 503)["ready"]
        assert conforms(server.ask("GET", "/v2/health/live"), "live")["live"]
        gone = server.infer(question(model.items[:1]))
        assert conforms(gone, "error", 503)["reason"] == Reason.UNAVAILABLE
        assert gone.headers["retry-after"] == "1"
        bad = server.ask("POST", f"{REPOSITORY}/load", {"parameters": {"config": "{}"}})
        assert conforms(bad, "error", 400)
        assert server.load().status == 200
        assert server.ask("GET", f"{MODEL}/ready").status == 200


def test_starts_without_a_model_and_takes_one_later(tmp_path: Path, model: Model) -> None:
    """Set-up may come after the server: it lives, is not ready, and serves after a load."""
    folder = tmp_path / "models"
    with inference(folder) as server:
        assert server.ask("GET", "/v2/health/live").status == 200
        assert server.ask("GET", "/v2/health/ready").status == 503
        assert conforms(server.load(), "error", 400)["reason"] == Reason.REFUSED
        write(folder, model)
        deploy(folder, model.version, good=True)
        assert server.load().status == 200
        assert server.infer(question(model.items[:1])).status == 200


@pytest.mark.parametrize("kind", list(Bad))
def test_bad_models_are_refused_and_the_good_one_goes_on(
    artefacts: Path, model: Model, kind: Bad
) -> None:
    """A bad deployment is refused with its reason; the version before answers on, and a restored one loads."""
    with inference(artefacts) as server:
        deploy_bad(artefacts, kind)
        answer = server.load()
        [entry] = server.ask("POST", "/v2/repository/index").content

        assert conforms(answer, "error", 400)["reason"] == Reason.REFUSED
        assert answer.content["error"].startswith(f"{entry['reason']}: ")
        assert (entry["version"], entry["state"]) == (model.version, "READY")
        assert server.metric(f'ml_model_loads_total{{result="{entry["reason"]}"}}') == 1
        assert conforms(server.infer(question(model.items[:1])), "infer")
        restore(artefacts)
        assert server.load().content["version"] == model.version


def test_a_careless_server_gives_garbage_that_clients_can_tell(
    artefacts: Path, model: Model
) -> None:
    """With --no-verify each bad model goes through, and each answer shows it: null, shape, age, 503, nothing."""
    address = f"http://127.0.0.1:{free_port()}"
    ask = question(model.items[:3], k=10)
    with inference(artefacts, "--no-verify") as server:
        address = f"http://{server.server.address}"

        def after(kind: str) -> Answer:
            assert bad_main([kind, "--dir", str(artefacts), "--server", address]) == 0
            return server.infer(ask)

        nan = after("nan")
        assert nan.output("scores") == tensor("scores", "FP32", [1, 10], [None] * 10)
        assert after("shape").output("items")["shape"] == [1, 3]
        created_at = datetime.fromisoformat(after("stale").content["parameters"]["created_at"])
        assert datetime.now(UTC) - created_at > timedelta(days=399)
        empty = after("empty")
        assert (empty.output("items")["shape"], empty.output("items")["data"]) == ([1, 0], [])
        assert after("truncated").status == 503
        assert conforms(after("restore"), "infer")["model_version"] == model.version


def test_reload_under_requests_loses_none(artefacts: Path, model: Model) -> None:
    """While two versions are exchanged over and over, every request is answered, whole, by one of them."""
    other = train_seeded(datetime.now(UTC), 5)
    write(artefacts, other)
    over = threading.Event()

    def keep_asking(server: Inference) -> list[Answer]:
        answers = []
        connection = http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=WITHIN_S)
        while not over.is_set() or not answers:
            answers.append(ask_on(connection, "POST", f"{MODEL}/infer", question(model.items[:5])))
        connection.close()
        return answers

    with inference(artefacts) as server, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(keep_asking, server) for _ in range(3)]
        try:
            for n in range(30):
                deploy(artefacts, (other, model)[n % 2].version, good=True)
                assert server.load().status == 200
        finally:
            over.set()
        answers = [answer for each in asking for answer in each.result(WITHIN_S)]

    assert {answer.status for answer in answers} == {200}
    expected = {each.version: None for each in (model, other)}
    assert {answer.content["model_version"] for answer in answers} == set(expected)
    by_version = {
        (answer.content["model_version"], tuple(answer.output("items")["data"]))
        for answer in answers
    }
    assert len(by_version) == 2  # each version always says the same


def test_kill_and_restart_keep_the_version(artefacts: Path, model: Model) -> None:
    """SIGKILL loses nothing: the server that starts again serves the same version with the same answer."""
    with inference(artefacts) as server:
        before = server.infer(question(model.items[:5]))
        server.server.kill()
        server.server.start()

        assert server.infer(question(model.items[:5])).content == before.content


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


def test_logs_carry_the_callers_id_and_it_stops_when_told(artefacts: Path, model: Model) -> None:
    """Every line is of the backend's format; a prediction's has the id that was sent; SIGTERM ends it with 0."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.ml_pipelines.server"],
        cwd=ROOT,
        env={
            **{"PATH": os.environ["PATH"], "PORT": str(port), "METRICS_PORT": "0"},
            "MODEL_DIR": str(artefacts),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ends_at = time.monotonic() + WITHIN_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
            try:
                headers = {"X-Request-ID": "the-one-we-look-for"}
                path = f"{MODEL}/infer"
                answer = ask_on(connection, "POST", path, question(model.items[:1]), headers)
                break
            except OSError:
                assert time.monotonic() < ends_at
                time.sleep(0.02)
            finally:
                connection.close()
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
