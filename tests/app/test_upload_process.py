"""Uploads to the backend as a process, over real sockets: lies on the wire, clients that leave, kills, memory."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from app.services.incoming import FOLDER, sweep
from tests.app.api.asgi import LIMIT_S
from tests.app.test_process import Backend, backend
from tests.app.uploading import (
    ACCEPTED,
    HEAD,
    NOTHING,
    Traces,
    clip,
    exchange,
    head_of,
    new_key,
    parts,
    send_file,
    sha256,
    traces,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.app.system import System

LARGE = 200 * 1024 * 1024
MAX_GROWTH_KB = 30 * 1024
ZEROS = bytes(1 << 20)


@pytest.fixture(scope="module")
def running(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Run one backend for all that it survives."""
    with backend(system, tmp_path_factory.mktemp("uploads")) as running:
        yield running


def _wait(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def _traces(system: System, key: str) -> Traces:
    return asyncio.run(traces(system, key))


def _results(running: Backend, result: str) -> float:
    text = running.get("/metrics", port=running.metrics_port)[2].decode()
    found = re.search(rf'^uploads_total{{result="{result}"}} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_accepted(system: System, running: Backend) -> None:
    """An upload over the wire, with and without a Content-Length, is acknowledged with its checksum."""
    key, body = new_key(), clip()
    status, answer = send_file(system, running.port, key, [body[:7], body[7:]], len(body))
    assert (status, orjson.loads(answer)["checksum_sha256"]) == (202, sha256(body))
    assert _traces(system, key) == ACCEPTED

    chunked = new_key()
    head = head_of(system, chunked, Transfer_Encoding="chunked")
    pieces = [b"%x\r\n%b\r\n" % (len(body), body), b"0\r\n\r\n"]
    assert exchange(running.port, head, *pieces) == 202
    assert _traces(system, chunked) == ACCEPTED


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        # More bytes than were announced are no second request that anybody obeys.
        ({"Content_Length": 1000}, clip(1000) + b"GET /livez HTTP/1.1\r\n\r\n" * 50, {202}),
        ({"Content_Length": -5}, clip(100), {400}),
        ({"Content_Length": "12, 13"}, clip(100), {400}),
        ({"Content_Length": "1e3"}, clip(1000), {400}),
        ({"Content_Length": 100, "Transfer_Encoding": "chunked"}, b"0\r\n\r\n", {400}),
        ({"Transfer_Encoding": "chunked"}, b"zz\r\nno number\r\n", {400, None}),
        ({"Content_Length": 1 << 62}, clip(1000), {413}),
        ({"Content_Length": 10**30}, clip(1000), {400, 413}),
        ({"Content_Length": 3000}, b"#!/bin/sh\n".ljust(3000, b"x"), {415}),
        ({"Content_Length": 9_000_000}, bytes(3000), {415}),
    ],
)
def test_lies(
    system: System,
    running: Backend,
    headers: dict[str, object],
    body: bytes,
    statuses: set[int | None],
) -> None:
    """What a head says and its body contradicts is refused or cut to size, and nothing is left."""
    key = new_key()
    status = exchange(running.port, head_of(system, key, **headers), body)

    assert status in statuses
    _wait(lambda: not parts(system))
    assert _traces(system, key) == (ACCEPTED if status == 202 else NOTHING)
    assert running.get("/livez")[0] == 200


def test_refused_before_the_body(system: System, running: Backend) -> None:
    """Who waits to be asked for the body (100-continue) and may not send it is not asked."""
    head = head_of(
        system,
        "short",
        Content_Length=LARGE,
        Expect="100-continue",
    )
    with socket.create_connection(("127.0.0.1", running.port), timeout=LIMIT_S) as connection:
        connection.sendall(head)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.headers["connection"]) == (422, "close")


def test_client_leaves(system: System, running: Backend) -> None:
    """Clients that go away in the middle of a body, politely or not, leave nothing."""
    key, before = new_key(), _results(running, "aborted")
    head = head_of(system, key, Content_Length=1_000_000)
    exchange(running.port, head, clip(600_000), close=True)
    with socket.create_connection(("127.0.0.1", running.port), timeout=LIMIT_S) as connection:
        connection.sendall(head + clip(600_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    _wait(lambda: _results(running, "aborted") == before + 2)

    assert _traces(system, key) == NOTHING


def test_killed(system: System, tmp_path: Path) -> None:
    """What a killed process had received in part is removed by whoever sweeps; what arrives elsewhere is not."""
    folder = Path(system.environment["LOCAL_STORE_DIR"]) / FOLDER
    key, other = new_key(), new_key()
    with (
        backend(system, tmp_path) as killed,
        backend(system, tmp_path) as living,
        socket.create_connection(("127.0.0.1", killed.port), timeout=LIMIT_S) as first,
        socket.create_connection(("127.0.0.1", living.port), timeout=LIMIT_S) as second,
    ):
        for connection, name in ((first, key), (second, other)):
            connection.sendall(head_of(system, name, Content_Length=2_000_000) + clip(900_000))
        _wait(lambda: sum(path.stat().st_size >= 512 * 1024 for path in parts(system)) == 2)
        killed.process.send_signal(signal.SIGKILL)
        killed.process.wait(LIMIT_S)

        assert (sweep(folder, 0), len(parts(system))) == (1, 1)
        second.sendall(bytes(1_100_000))
        answer = http.client.HTTPResponse(second)
        answer.begin()
        assert answer.status == 202
    assert _traces(system, key) == NOTHING
    assert _traces(system, other) == ACCEPTED


def test_memory(system: System, tmp_path: Path) -> None:
    """An upload of 200 MB makes the process grow by less than 30 MB at any time, and is kept whole."""
    with backend(system, tmp_path) as running:
        warm = clip(400_000)
        assert send_file(system, running.port, new_key(), [warm], len(warm))[0] == 202
        process = Path("/proc") / str(running.process.pid)
        before = _forget_peak(process)
        rest = LARGE - len(HEAD)
        pieces = [HEAD, *[ZEROS] * (rest // len(ZEROS)), ZEROS[: rest % len(ZEROS)]]
        key = new_key()
        status, answer = send_file(system, running.port, key, pieces, LARGE)
        peak = _kilobytes(process, "VmHWM")

    assert (status, orjson.loads(answer)["size_bytes"]) == (202, LARGE)
    assert peak - before < MAX_GROWTH_KB, f"{(peak - before) / 1024:.1f} MB"
    assert _traces(system, key) == ACCEPTED


def _forget_peak(process: Path) -> int:
    """Let the peak begin anew (proc(5), clear_refs); return what the process has now, in KB."""
    (process / "clear_refs").write_text("5")
    return _kilobytes(process, "VmRSS")


def _kilobytes(process: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])
