"""The load checks what it is answered: each way to be wrong stops it with a complaint."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.bench import client
from tests.bench.client import Order, drive

if TYPE_CHECKING:
    from tests.bench.client import Result

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"


class Answering(asyncio.Protocol):
    """Answers each read with these pieces, one after the other; `gone` is set when its caller has left."""

    def __init__(self, pieces: tuple[bytes, ...], gone: list[asyncio.Event]) -> None:
        """Serve one connection."""
        self._pieces = pieces
        self._gone = asyncio.Event()
        gone.append(self._gone)
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport  # type: ignore[assignment]  # of a TCP connection, so it writes

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell that it is over."""
        self._gone.set()

    def data_received(self, _data: bytes) -> None:
        """Write each piece in a turn of the loop of its own."""
        loop = asyncio.get_running_loop()
        for number, piece in enumerate(self._pieces):
            loop.call_later(0.001 * number, self._write, piece)

    def _write(self, piece: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(piece)


async def driven_by(*pieces: bytes, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Drive a server that answers each request with these pieces."""
    monkeypatch.setattr(client, "SETTLE_S", 0.0)
    gone: list[asyncio.Event] = []
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Answering(pieces, gone), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await drive(Order(port, os.getpid(), "/", 3, connections=2, seconds=0.1))
        async with asyncio.timeout(5):
            for each in gone:
                await each.wait()
    return result


@pytest.mark.parametrize("cut", [len(GOOD), 10, len(GOOD) - 1])
async def test_good_answers_are_counted_however_they_arrive(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece or in two, an answer counts once, and CPU time of the one who answers is read."""
    result = await driven_by(GOOD[:cut], GOOD[cut:], monkeypatch=monkeypatch)

    assert not result.complaints
    assert result.requests > 0
    assert result.cpu_s > 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nabc",
        GOOD + b"more",
    ],
)
async def test_a_wrong_answer_is_a_complaint(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another status, another length, a length not promised, or more than was asked for."""
    result = await driven_by(answer, monkeypatch=monkeypatch)

    assert result.complaints


async def test_silence_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers has no rate of 0; it has none."""
    result = await driven_by(monkeypatch=monkeypatch)

    assert result.complaints == ["no answer at all"]
