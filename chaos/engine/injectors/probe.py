"""Timed probes: how a fresh TCP connection is treated, by an edge or by the server itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from chaos.model.topology import Component

Answer = Literal["answered", "connected", "silent", "closed", "refused"]
SILENT_AFTER_S = 0.3
"""No answer for so long is silence: a thousand times what loopback needs."""
KEPT_FOR_S = 0.05
"""A route to a dead upstream accepts and closes at once; one that is kept for so long is alive."""
_CLOSE_WITHIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Probe:
    """How one fresh connection ended, and how many milliseconds after its start.

    `answered`: a byte came back. `connected`: the connection stayed open and there was nothing to ask. `silent`: no
    answer in time. `closed`: accepted, then ended without an answer. `refused`: not accepted.
    """

    answer: Answer
    took_ms: float


def question(component: Component, port: int) -> bytes:
    """Return a request that this server answers without a password and without changing anything.

    Empty where only a connection can be tried, because the protocol on `port` is unknown.
    """
    ready = component.ready
    if ready.port != port:
        return b""
    if ready.kind == "redis":
        return b"PING\r\n"
    if ready.kind == "postgres":
        # An SSLRequest: answered by one byte, S or N.
        return b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    if ready.kind == "http":
        return f"GET {ready.path} HTTP/1.0\r\nHost: {component.name}\r\n\r\n".encode()
    return b""


async def probe(address: tuple[str, int], ask: bytes, *, within_s: float = SILENT_AFTER_S) -> Probe:
    """Connect, send `ask` if there is something to ask, and wait for the first byte of an answer."""
    began = time.perf_counter()

    def done(answer: Answer) -> Probe:
        return Probe(answer, (time.perf_counter() - began) * 1_000)

    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(*address)
    except TimeoutError:
        return done("silent")
    except OSError:
        return done("refused")
    try:
        if ask:
            writer.write(ask)
        async with asyncio.timeout(within_s if ask else KEPT_FOR_S):
            data = await reader.read(64)
        return done("answered" if data else "closed")
    except TimeoutError:
        return done("silent" if ask else "connected")
    except OSError:
        return done("closed")
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await writer.wait_closed()
