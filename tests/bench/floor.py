"""The fastest server that this client could meet: it answers each read with the same bytes, looking at nothing."""

from __future__ import annotations

import asyncio
import sys

from uvicorn.loops.uvloop import uvloop_loop_factory


class Floor(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: bytes) -> None:
        """Answer with these bytes."""
        self._answer = answer
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport  # type: ignore[assignment]  # of a TCP connection, so it writes

    def data_received(self, _data: bytes) -> None:
        """Answer. Requests are short and come one by one, so each read is one of them."""
        if self._transport is not None:
            self._transport.write(self._answer)


async def serve(port: int, length: int) -> None:
    """Answer with bodies of `length` bytes until killed."""
    answer = (
        f"HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: application/json\r\n\r\n"
    ).encode() + b"x" * length
    server = await asyncio.get_running_loop().create_server(
        lambda: Floor(answer), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop_loop_factory()) as runner:
        runner.run(serve(int(sys.argv[1]), int(sys.argv[2])))
