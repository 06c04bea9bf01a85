"""The load, in a process of its own: closed loop, kept-alive connections, every answer checked.

Reads one order a line on standard input and writes one result a line on standard output, both JSON. It does as little
as a client can do (one system call in, one out, a search for the end of the head), so that the server is what is
measured; how much faster it is than the servers is measured too, against `tests.bench.floor`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field

from uvicorn.loops.uvloop import uvloop_loop_factory

from tests.bench.cpu import cpu_ns

SETTLE_S = 0.15
"""All connections are at work before anything is counted."""
CONNECT_WITHIN_S = 5.0
MAX_COMPLAINTS = 3


@dataclass(frozen=True, slots=True)
class Order:
    """Ask for `path` on loopback for `seconds` and expect bodies of `length` bytes; `pid` is who answers."""

    port: int
    pid: int
    path: str
    length: int
    connections: int
    seconds: float


@dataclass(slots=True)
class Result:
    """What came of an order; `complaints` are answers that were not as expected."""

    requests: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    complaints: list[str] = field(default_factory=list)


def request_of(path: str) -> bytes:
    """Return the bytes of a request as a program would send it."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        "User-Agent: bench\r\n\r\n"
    ).encode()


class Connection(asyncio.Protocol):
    """One caller who asks again as soon as he has his answer."""

    def __init__(self, order: Order, result: Result) -> None:
        """Count in `result`."""
        self._request = request_of(order.path)
        self._length = order.length
        self._promised = f"\r\ncontent-length: {order.length}\r\n".encode()
        self._result = result
        self._pending = b""
        self._stopped = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = transport  # type: ignore[assignment]  # of a TCP connection, so it writes
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Check the answer once it is whole, and ask again."""
        if self._pending:
            data = self._pending + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or len(data) < head + 4 + self._length:
            self._pending = data
            return
        self._pending = b""
        good = (
            data.startswith(b"HTTP/1.1 200 ")
            and len(data) == head + 4 + self._length
            and data.find(self._promised, 0, head + 2) > 0
        )
        if not good:
            self._complain(data[:200].decode("latin-1"))
            return
        self._result.requests += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody but us may end the connection."""
        if not self._stopped:
            self._complain(f"the connection was lost: {exc}; unfinished: {self._pending[:200]!r}")

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        if not self._stopped and self._transport is not None:
            self._transport.write(self._request)

    def _complain(self, text: str) -> None:
        if len(self._result.complaints) < MAX_COMPLAINTS:
            self._result.complaints.append(text)
        self.stop()


async def drive(order: Order) -> Result:
    """Carry an order out."""
    loop = asyncio.get_running_loop()
    running = Result()
    async with asyncio.timeout(CONNECT_WITHIN_S):
        connections = [
            (
                await loop.create_connection(
                    lambda: Connection(order, running), "127.0.0.1", order.port
                )
            )[1]
            for _ in range(order.connections)
        ]
    await asyncio.sleep(SETTLE_S)
    began = (running.requests, time.perf_counter(), cpu_ns(order.pid), time.process_time())
    await asyncio.sleep(order.seconds)
    ended = (running.requests, time.perf_counter(), cpu_ns(order.pid), time.process_time())
    for connection in connections:
        connection.stop()
    if running.requests == began[0] and not running.complaints:
        running.complaints.append("no answer at all")
    return Result(
        ended[0] - began[0],
        ended[1] - began[1],
        (ended[2] - began[2]) / 1e9,
        ended[3] - began[3],
        running.complaints,
    )


def main() -> None:
    """Carry out one order a line until the input ends."""
    with asyncio.Runner(loop_factory=uvloop_loop_factory()) as runner:
        for line in sys.stdin:
            result = runner.run(drive(Order(**json.loads(line))))
            sys.stdout.write(f"{json.dumps(asdict(result))}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
