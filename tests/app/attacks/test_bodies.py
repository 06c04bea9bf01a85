"""Bodies that are too large, too slow or made to break their reader: refused, with ids, and never a 500."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.app.api.asgi import Answer, Call, call
from tests.app.test_process import Backend, backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import Message

    from tests.app.system import System

LOGIN = "/api/v1/auth/login"
JSON = ("Content-Type", "application/json")
MAX_BYTES = 64 * 1024
DEADLINE_S = 0.5

BOMBS = {
    "deep lists": b"[" * 60_000,
    "deep objects": b'{"a":' * 10_000,
    "a number of 60 000 digits": b'{"username": ' + b"9" * 60_000 + b"}",
    "infinity by exponent": b'{"username": 1e999, "password": -1e999}',
    "NaN": b'{"username": NaN, "password": Infinity}',
    "a key twice": b'{"username": "a", "username": "b", "password": "x"}',
    "a key twice, deeper": b'{"username": {"x": 1, "x": 2}, "password": "x"}',
    "half a character": rb'{"username": "\ud800", "password": "\udfff"}',
    "half a character as a key": rb'{"\ud800": 1}',
    "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(5_000)) + b"}",
    "a key without end": b'{"' + b"k" * 60_000 + b'": 1}',
    "no UTF-8": b'{"username": "\xff\xfe", "password": "\x80"}',
    "NUL": rb'{"username": "a\u0000b", "password": "\u0000"}',
    "nothing": b"",
    "blanks": b" " * 60_000,
}


def _is_problem(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["correlation_id"]
    assert "traceparent" in answer.headers


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("path", [LOGIN, "/api/v1/auth/register"])
async def test_json_bombs(app: FastAPI, path: str, bomb: bytes) -> None:
    """What is no sensible body is a 422 problem, whose size has nothing to do with that of the body."""
    answer = await call(app, "POST", path, headers=[JSON], body=bomb)

    _is_problem(answer, 422)
    assert len(answer.body) < 8 * 1024


async def test_a_key_twice_is_no_login(app: FastAPI) -> None:
    """Of two passwords none is taken: who checks a body before us may have looked at the other."""
    body = b'{"username": "listener", "password": "first-one-1", "password": "second-one-2"}'
    answer = await call(app, "POST", LOGIN, headers=[JSON], body=body)

    _is_problem(answer, 422)


async def test_body_larger_than_announced_limit(app: FastAPI) -> None:
    """A Content-Length beyond the limit is refused before anything is read or routed."""
    asked = Call(app, "POST", LOGIN, headers=[JSON, ("Content-Length", str(MAX_BYTES + 1))])
    answer = await asked.run()

    _is_problem(answer, 413)
    assert not asked.sent
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("length", [None, "10", "0", "-1", "ten"])
async def test_body_larger_than_it_says(app: FastAPI, length: str | None) -> None:
    """Bytes are counted as they come, so a body without a length, or with a false one, ends at the limit too."""
    headers = [JSON, *([("Content-Length", length)] if length else [])]
    answer, taken = await _stream(app, headers, parts=1_000)

    _is_problem(answer, 413)
    assert taken <= MAX_BYTES // 1024 + 1


async def test_body_at_the_limit(app: FastAPI) -> None:
    """The largest body allowed is read and judged by what it says."""
    body = b'{"username": "a"}'.ljust(MAX_BYTES)
    headers = [JSON, ("Content-Length", str(len(body)))]

    _is_problem(await call(app, "POST", LOGIN, headers=headers, body=body), 422)


async def _stream(
    app: FastAPI, headers: list[tuple[str, str]], *, parts: int
) -> tuple[Answer, int]:
    """Send a body of `parts` KiB in pieces; return the answer and how many pieces were taken."""
    taken = 0

    class Streaming(Call):
        async def _receive(self) -> Message:
            nonlocal taken
            await asyncio.sleep(0)
            taken += 1
            return {"type": "http.request", "body": b" " * 1024, "more_body": taken < parts}

    answer = await Streaming(app, "POST", LOGIN, headers=headers).run()
    return answer, taken


@pytest.fixture(scope="module")
def running(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend with a short deadline."""
    folder: Path = tmp_path_factory.mktemp("bodies")
    with backend(system, folder, REQUEST_DEADLINE_S=str(DEADLINE_S)) as running:
        yield running


def _exchange(running: Backend, head: str, go_on: Callable[[socket.socket], None]) -> bytes:
    """Send a head, then what `go_on` sends; return all that came back until the server closed."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
        client.sendall(f"{head}\r\nHost: a\r\nContent-Type: application/json\r\n\r\n".encode())
        go_on(client)
        got = b""
        while part := client.recv(65536):
            got += part
        return got


def _drip(piece: bytes) -> Callable[[socket.socket], None]:
    """Send a piece now and then, and stop before the deadline: who sends into a closed connection loses the answer."""

    def go_on(client: socket.socket) -> None:
        for _ in range(5):
            client.sendall(piece)
            time.sleep(DEADLINE_S / 10)

    return go_on


@pytest.mark.parametrize(
    ("framing", "piece"),
    [("Content-Length: 1000", b" "), ("Transfer-Encoding: chunked", b"1\r\n \r\n")],
)
def test_slow_body(running: Backend, framing: str, piece: bytes) -> None:
    """A body that drips is ended by the deadline, and its connection: 408, since it is the client who was slow."""
    answer = _exchange(running, f"POST {LOGIN} HTTP/1.1\r\n{framing}", _drip(piece))

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert b"x-request-id: " in answer
    assert running.get("/livez")[0] == 200


def test_endless_body(running: Backend) -> None:
    """A chunked body without end is cut off at the limit."""

    def flood(client: socket.socket) -> None:
        for _ in range(MAX_BYTES // 1024):
            client.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        # Not one byte more than is too much: who sends into a closed connection loses the answer.
        client.sendall(b"1\r\n \r\n")

    answer = _exchange(running, f"POST {LOGIN} HTTP/1.1\r\nTransfer-Encoding: chunked", flood)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
