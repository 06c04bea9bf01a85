"""A real inference server, and what to ask it."""

from __future__ import annotations

import http.client
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.app.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MODEL = "/v2/models/recommendations"
REPOSITORY = "/v2/repository/models/recommendations"
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: Any

    def output(self, name: str) -> dict[str, Any]:
        """Return one output tensor."""
        [tensor] = [each for each in self.content["outputs"] if each["name"] == name]
        return dict(tensor)


@dataclass(frozen=True)
class Inference:
    """A running server on the artefacts of a folder."""

    server: Server
    metrics_port: int

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own; bytes go as they are, anything else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT_S)
        try:
            return ask_on(connection, method, path, body, headers)
        finally:
            connection.close()

    def infer(self, body: object, version: str | None = None) -> Answer:
        """Ask for predictions."""
        return self.ask(
            "POST", f"{MODEL}{'' if version is None else f'/versions/{version}'}/infer", body
        )

    def load(self) -> Answer:
        """Tell it to load what is deployed."""
        return self.ask("POST", f"{REPOSITORY}/load")

    def metric(self, line: str) -> float:
        """Return the value of one series, written as it stands in the text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = [row for row in text.splitlines() if row.startswith(f"{line} ")]
        return float(found[0].rpartition(" ")[2]) if found else float("nan")


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request; the connection stays open."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, dict(headers or {}))
    answer = connection.getresponse()
    read = answer.read()
    named = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, named, json.loads(read) if read else None)


@contextmanager
def inference(folder: Path, *arguments: str, **environment: str) -> Iterator[Inference]:
    """Run a server until the end of the block."""
    port, metrics_port = free_port(), free_port()
    server = Server(
        [sys.executable, "-m", "app.ml_pipelines.server", *arguments],
        port,
        environment={
            "PORT": str(port),
            "METRICS_PORT": str(metrics_port),
            "MODEL_DIR": str(folder),
            # The tests share few cores: threads of the linear algebra would only wait for each other.
            "OPENBLAS_NUM_THREADS": "1",
            **environment,
        },
    )
    server.start()
    try:
        yield Inference(server, metrics_port)
    finally:
        server.kill()


def question(*histories: tuple[str, ...], k: int = 10, **more: object) -> dict[str, object]:
    """Return a request for each of the histories, padded to the longest."""
    longest = max(map(len, histories))
    data = [item for row in histories for item in (*row, *("",) * (longest - len(row)))]
    return {
        "inputs": [
            tensor("history", "BYTES", [len(histories), longest], data),
            tensor("k", "INT32", [1], [k]),
        ],
        **more,
    }


def tensor(name: str, datatype: str, shape: object, data: object) -> dict[str, object]:
    """Return a tensor as the protocol writes it."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
