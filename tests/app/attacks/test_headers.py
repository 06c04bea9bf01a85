"""Ids that a hostile caller sends: they split no header, forge no log line, and never come back."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from tests.app.api.asgi import call
from tests.app.test_process import Backend, backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.app.system import System

MARK = "evilmark"
HOSTILE = [
    f"aaaaaaaa\r\nSet-Cookie: {MARK}=1",
    f"aaaaaaaa\n{MARK}: 1",
    f"aaaaaaaa\r{MARK}",
    f"aaaaaaaa\x00{MARK}",
    f'aaaaaaaa","level":"ERROR","event":"{MARK}',
    f"aaaaaaaa\x1b[31m{MARK}",
    f"<script>{MARK}</script>",
    f"${{jndi:ldap://{MARK}}}",
    f"../../{MARK}/etc",
    MARK + "x" * 10_000,
    f"{MARK}\n",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", ["X-Request-ID", "traceparent"])
@pytest.mark.parametrize("path", ["/api/v1/videos", "/nowhere", "/api/v1/videos?limit=x"])
async def test_hostile_ids(app: FastAPI, name: str, hostile: str, path: str) -> None:
    """Of a hostile id nothing is in the answer's headers, its body, or any log line; clean ids stand there instead."""
    with capture_logs() as lines:
        answer = await call(app, "GET", path, headers=[(name, hostile)])

    assert answer.headers["x-request-id"].isalnum()
    for key, value in answer.raw_headers:
        assert MARK.encode() not in key + value
        assert not set(key + value) & set(b"\r\n\0\x1b")
    assert MARK.encode() not in answer.body
    assert MARK not in str(lines)


async def test_ids_that_contradict(app: FastAPI) -> None:
    """Of two ids neither is taken: a proxy may have logged the other."""
    both = [("X-Request-ID", f"{MARK}-one"), ("X-Request-ID", f"{MARK}-two")]
    answer = await call(app, "GET", "/nowhere", headers=both)

    assert MARK not in str(answer.headers)
    assert MARK.encode() not in answer.body


@pytest.fixture(scope="module")
def running(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend that believes no proxy."""
    with backend(system, tmp_path_factory.mktemp("headers")) as running:
        yield running


@pytest.mark.parametrize("hostile", HOSTILE[:4])
def test_split_on_the_wire(running: Backend, hostile: str) -> None:
    """On a real connection a split id sets no header of the answer, and all of the log stays one event a line."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
        head = (
            f"GET /nowhere HTTP/1.1\r\nHost: a\r\nX-Request-ID: {hostile}\r\nConnection: close\r\n"
        )
        client.sendall(f"{head}\r\n".encode("latin-1"))
        got = b""
        while part := client.recv(65536):
            got += part

    assert got.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert MARK.encode() not in got
    assert all(MARK not in str(line) for line in running.lines())


def test_nobody_chooses_their_address(running: Backend) -> None:
    """Where no proxy is named X-Forwarded-For is not believed, so limits per address meet who really calls."""
    statuses = []
    for number in range(80):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
            body = b'{"username": "nobody-%d", "password": "wrong-password"}' % number
            head = (
                f"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.1.1.{number}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            client.sendall(head.encode() + body)
            statuses.append(client.recv(65536).split(b" ", 2)[1])
        if statuses[-1] == b"429":
            break

    assert statuses[-1] == b"429"
