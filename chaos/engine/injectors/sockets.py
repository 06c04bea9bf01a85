"""TCP sockets of this machine, as evidence: who is connected to an edge, and how an edge answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ESTABLISHED = "01"
PING = b"PING\r\n"
Answer = Literal["answered", "silent", "refused", "closed", "connected"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One fresh connection through an edge: how it ended and how long that took, in milliseconds."""

    answer: Answer
    took_ms: float


def clients_of(port: int) -> int | None:
    """Return how many connections clients hold to a loopback port; None where the kernel does not tell."""
    count = 0
    try:
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    wanted = f":{port:04X}"
    for row in rows:
        fields = row.split()
        if fields[2].endswith(wanted) and fields[3] == ESTABLISHED:
            count += 1
    return count


async def probe(host: str, port: int, *, ask: bytes, within_s: float) -> Probe:
    """Connect, send `ask` when there is something to ask, and wait for the first byte of an answer."""
    began = time.perf_counter()

    def done(answer: Answer) -> Probe:
        return Probe(answer, (time.perf_counter() - began) * 1_000)

    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), within_s)
    except TimeoutError:
        return done("silent")
    except OSError:
        return done("refused")
    try:
        if not ask:
            # A live route keeps the connection; one to a dead upstream closes it at once.
            try:
                data = await asyncio.wait_for(reader.read(1), 0.05)
            except TimeoutError:
                return done("connected")
            return done("answered" if data else "closed")
        writer.write(ask)
        data = await asyncio.wait_for(reader.read(64), within_s)
        return done("answered" if data else "closed")
    except TimeoutError:
        return done("silent")
    except OSError:
        return done("closed")
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 0.2)
