"""Asking a component whether it serves yet, by the kind of question that its `ready` block names."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.model.topology import Readiness

ASK_LIMIT_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.05
_HTTP_OK: Final = range(200, 300)
# Startup message of protocol 3.0, https://www.postgresql.org/docs/18/protocol-message-formats.html
_PROTOCOL_3: Final = 196_608
_CANNOT_CONNECT_NOW: Final = b"57P03"


async def wait_until_ready(
    readiness: Readiness, host: str, port: int, *, is_alive: Callable[[], bool]
) -> bool:
    """Ask until the answer is yes; False when the limit is over or the process has died."""
    deadline = time.monotonic() + readiness.within_s
    pause_s = _FIRST_PAUSE_S
    while is_alive() and (left_s := deadline - time.monotonic()) > 0:
        if await is_ready(readiness, host, port, limit_s=min(ASK_LIMIT_S, left_s)):
            # Whoever answered could also be a stranger on that port while ours died of it.
            return is_alive()
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return False


async def is_ready(readiness: Readiness, host: str, port: int, *, limit_s: float) -> bool:
    """Ask once. No connection, no answer in `limit_s` or a wrong answer is a no."""
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _ask(readiness, reader, writer, f"{host}:{port}")
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        return False


async def _ask(
    readiness: Readiness, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
) -> bool:
    match readiness.kind:
        case "http":
            request = (
                f"GET {readiness.path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
            )
            writer.write(request.encode())
            status = (await reader.readline()).split()[1:2]
            return bool(status) and int(status[0]) in _HTTP_OK
        case "redis":
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        case "postgres":
            # The same test as pg_isready: any answer but "cannot connect now" comes from a serving server.
            parameters = b"user\0postgres\0database\0postgres\0\0"
            writer.write(struct.pack("!ii", 8 + len(parameters), _PROTOCOL_3) + parameters)
            kind, length = struct.unpack("!ci", await reader.readexactly(5))
            body = await reader.readexactly(length - 4)
            return kind == b"R" or (kind == b"E" and _CANNOT_CONNECT_NOW not in body)
        case _:
            return True
