"""The inference server as a process: it speaks the protocol, and refuses what is none of it."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

import pytest

from app.ml_pipelines.protocol import MAX_BODY_BYTES, Reason
from tests.app.ml_pipelines.process import MODEL, Inference, question, tensor
from tests.app.ml_pipelines.schemas import conforms

if TYPE_CHECKING:
    from app.ml_pipelines.artefact import Model

WITHIN_S = 15.0


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
