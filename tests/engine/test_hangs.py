"""The states in which Toxiproxy 2.12's control API hangs: each provoked, each healed in time, at one edge's cost."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chaos.engine.injectors import sockets
from chaos.model.faults import Blackhole, Latency
from chaos.toxiproxy.client import Toxiproxy, ToxiproxyTimeoutError
from tests.engine.clients import LIMIT_S, clients_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.engine.conftest import Bench

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

FOR_S = 60.0
HEALED_WITHIN_S = 1.0
SLACK_S = 0.5
"""For a machine that is busy with other tests; the limit itself is the promise."""
BIG = 1_000_000


@asynccontextmanager
async def only_this_edge_pays(bench: Bench) -> AsyncIterator[None]:
    """Assert that clients of the other edge to the same server never lose a request."""
    async with clients_of(bench.address("edge-redis-broker"), count=2, limit_s=3.0) as others:
        yield
        served = others.answered
        await until(lambda: others.answered > served, "the other edge serves")
        assert others.failed == 0


async def heal_timed(bench: Bench) -> float:
    """Heal everything and return how many seconds that took."""
    began = time.monotonic()
    await bench.faults.heal_all()
    return time.monotonic() - began


def hangs(bench: Bench, toxic: str) -> bool:
    """Whether the control API takes longer than its limit to remove a toxic."""
    edge = Toxiproxy(*bench.stack.address("edge-redis-cache", 8474))
    try:
        edge.remove_toxic("redis-cache", toxic)
    except ToxiproxyTimeoutError:
        return True
    return False


async def fill(bench: Bench) -> None:
    """Put a big value into Redis."""
    reader, writer = await asyncio.open_connection(*bench.address("redis"))
    # Inline commands are limited to 64 KB, so this one is written in full.
    head = f"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${BIG}\r\n"
    writer.write(head.encode() + b"x" * BIG + b"\r\n")
    await writer.drain()
    assert await asyncio.wait_for(reader.readline(), LIMIT_S) == b"+OK\r\n"
    writer.close()


def connect(bench: Bench) -> socket.socket:
    """Connect to the edge with a small buffer, as a client that will not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    client.settimeout(LIMIT_S)
    client.connect(bench.address("edge-redis-cache"))
    return client


async def gone_with_chunks_in_flight(bench: Bench) -> None:
    """Ask for much under a delay, and die by RST while the answers are on their way."""
    client = connect(bench)
    for _ in range(20):
        client.sendall(b"ECHO " + b"y" * 1_000 + b"\r\n")
        await asyncio.sleep(0.005)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def test_clients_killed_with_chunks_in_flight(bench: Bench) -> None:
    """Removing the delay would take 5 s a chunk; the heal takes the last resort and is done within 1 s."""
    async with only_this_edge_pays(bench):
        await bench.faults.apply(Latency("redis-cache", delay_ms=2_000), "fault", FOR_S)
        await gone_with_chunks_in_flight(bench)
        before = (await bench.stack.state("edge-redis-cache")).pid
        assert await heal_timed(bench) < HEALED_WITHIN_S + SLACK_S
        assert (await bench.stack.state("edge-redis-cache")).pid != before
    assert await bench.faults.residue() == []


async def test_the_hang_is_real(bench: Bench) -> None:
    """Without the last resort the same state leaves the control API without an answer."""
    await bench.faults.apply(Latency("redis-cache", delay_ms=2_000), "fault", FOR_S)
    await gone_with_chunks_in_flight(bench)
    assert await asyncio.to_thread(hangs, bench, "chaosbed_latency_downstream")


async def test_clients_that_do_not_read(bench: Bench) -> None:
    """A paused client with full buffers would block the removal for good; the heal is done within 1 s."""
    await fill(bench)
    async with only_this_edge_pays(bench):
        await bench.faults.apply(Latency("redis-cache", delay_ms=100), "fault", FOR_S)
        client = connect(bench)
        client.sendall(b"GET big\r\n" * 20)
        mine = client.getsockname()[1]
        await until_stuck(lambda: sum(c.sent or 0 for c in shown() if c.remote_port == mine))
        before = (await bench.stack.state("edge-redis-cache")).pid
        assert await heal_timed(bench) < HEALED_WITHIN_S + SLACK_S
        client.close()
        assert (await bench.stack.state("edge-redis-cache")).pid != before
    assert await bench.faults.residue() == []


async def test_an_upstream_that_stopped_with_full_buffers(bench: Bench) -> None:
    """Here already the adding hangs: the fault counts as not injected, and its edge is clean within 1 s more."""
    async with clients_of(bench.address("edge-echo"), count=1, ask=b"x"):
        await bench.stack.pause("redis")
        reader, writer = await asyncio.open_connection(*bench.address("edge-redis-cache"))
        writer.write(b"SET big " + b"x" * 26_000_000)
        edge = bench.address("edge-redis-cache")
        await until_stuck(writer.transport.get_write_buffer_size)
        began = time.monotonic()
        problem = await bench.faults.apply(Blackhole("redis-cache"), "fault", FOR_S)
        took_s = time.monotonic() - began
        writer.close()
        assert "its state is unknown" in problem
        assert bench.last("healed")["by_force"] is True
        assert bench.faults.in_force() == ()
        # The probe of a paused server is silent for its whole limit, before and after the fault.
        assert took_s < HEALED_WITHIN_S + 0.25 + 0.3 + SLACK_S
        await bench.stack.resume("redis")
    async with clients_of(edge, limit_s=2.0):
        pass
    assert reader is not None
    assert await bench.faults.residue() == []


async def until_stuck(amount: Callable[[], int]) -> None:
    """Wait until an amount is above 0 and has stopped changing."""
    amounts: list[int] = []

    def stuck() -> bool:
        amounts.append(amount())
        return len(amounts) > 20 and len(set(amounts[-20:])) == 1 and amounts[-1] > 0

    await until(stuck, "nothing moves any more")


def shown() -> list[sockets.Connection]:
    """Return the machine's connections."""
    table = sockets.established()
    assert table is not None
    return table
