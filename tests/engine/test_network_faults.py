"""Network faults on real edges with live clients: in force, proved, undone, proved gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chaos.engine.injectors.judge import TIMER_SLACK
from chaos.engine.injectors.probe import probe
from chaos.model.faults import Bandwidth, Blackhole, Latency, LimitBytes, Refuse, Reset
from tests.engine.clients import PING, clients_of, until

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from tests.engine.conftest import Bench

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

FOR_S = 60.0
STORY = ["asked", "confirmed", "witnessed", "healing", "healed"]
FAULTS = [
    Refuse("redis-cache"),
    Latency("redis-cache", delay_ms=100),
    Latency("redis-cache", delay_ms=60, jitter_ms=20, direction="upstream"),
    Latency("redis-cache", delay_ms=50, direction="both"),
    # Longer than the clients wait: they give up, and the requests that met the delay are the witness.
    Latency("redis-cache", delay_ms=600),
    Blackhole("redis-cache", direction="downstream"),
    Blackhole("redis-cache", direction="upstream"),
    Blackhole("redis-cache", direction="both"),
    Bandwidth("redis-cache", rate_kb_per_s=1),
    Reset("redis-cache"),
    Reset("redis-cache", after_ms=100, direction="downstream"),
    LimitBytes("redis-cache", limit_bytes=50),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.sentence)
async def test_a_fault_is_confirmed_witnessed_healed_and_gone(bench: Bench, fault: Fault) -> None:
    """Each fault reads back, touches live traffic, and afterwards the same clients are served as before."""
    async with clients_of(bench.address("edge-redis-cache")) as clients:
        assert await bench.faults.apply(fault, "fault", FOR_S) == ""
        witness = await bench.witness()
        assert witness["touched"], witness
        assert bench.faults.in_force() == (fault.sentence,)
        assert await bench.faults.residue()
        await bench.faults.heal_all()
        healed_with = clients.answered
        await until(lambda: clients.answered > healed_with + 20, "the clients are served again")
    assert bench.events() == STORY
    assert bench.api("redis-cache").proxy("redis-cache").clean
    assert await bench.faults.residue() == []


async def test_the_numbers_of_a_refusal(bench: Bench) -> None:
    """Refusal closes the connections that were open: their number falls to 0 and a new one is refused."""
    async with clients_of(bench.address("edge-redis-cache"), count=3):
        await bench.faults.apply(Refuse("redis-cache"), "fault", FOR_S)
        witness = await bench.witness()
    assert (witness["clients_before"], witness["clients_now"]) == (3, 0)
    assert witness["probe"] == "refused"


async def test_the_numbers_of_a_delay(bench: Bench) -> None:
    """The probe is late by the delay, and bytes went both ways meanwhile."""
    async with clients_of(bench.address("edge-redis-cache")):
        await bench.faults.apply(Latency("redis-cache", delay_ms=150), "fault", FOR_S)
        witness = await bench.witness()
    # The probe of before the fault may have been slower than usual, by more than the delay is exact.
    assert 150 * TIMER_SLACK <= witness["probe_ms"] - witness["probe_ms_before"] < 400
    assert witness["bytes_from_clients"] > 0


async def test_the_numbers_of_a_black_hole(bench: Bench) -> None:
    """Clients send into it and get nothing; a probe connects and hears nothing."""
    async with clients_of(bench.address("edge-redis-cache")):
        await bench.faults.apply(Blackhole("redis-cache"), "fault", FOR_S)
        witness = await bench.witness()
    assert witness["unanswered"] > 0
    assert witness["probe"] == "silent"


async def test_a_black_hole_downstream_loses_only_the_answer(bench: Bench) -> None:
    """The request arrives and is carried out; its answer never comes: the ambiguous outcome."""
    await bench.faults.apply(Blackhole("redis-cache", direction="downstream"), "fault", FOR_S)
    through = await probe(bench.address("edge-redis-cache"), b"INCR hits\r\n")
    reader, writer = await asyncio.open_connection(*bench.address("redis"))
    writer.write(b"GET hits\r\n")
    assert await asyncio.wait_for(reader.read(64), 5.0) == b"$1\r\n1\r\n"
    writer.close()
    assert through.answer == "silent"


@pytest.mark.parametrize(
    "fault",
    [Refuse("echo"), Latency("echo", delay_ms=200), Blackhole("echo")],
    ids=lambda fault: fault.sentence,
)
async def test_a_server_of_unknown_protocol_has_witnesses_too(bench: Bench, fault: Fault) -> None:
    """Where nothing can be asked, connections and bytes that lag or vanish are the witness."""
    async with clients_of(bench.address("edge-echo"), ask=b"x" * 512, limit_s=1.0, pause_s=0.0):
        await bench.faults.apply(fault, "fault", FOR_S)
        witness = await bench.witness()
        assert witness["touched"], witness
        await bench.faults.heal_all()
    assert await bench.faults.residue() == []


@pytest.mark.parametrize(
    "fault",
    [Refuse("redis-cache"), Latency("redis-cache"), Blackhole("redis-cache")],
    ids=lambda fault: fault.kind,
)
async def test_an_idle_edge_is_not_touched(bench: Bench, fault: Fault) -> None:
    """Clients of the other edge to the same server prove nothing: confirmed, and touched is False with a reason."""
    async with clients_of(bench.address("edge-redis-broker")):
        assert await bench.faults.apply(fault, "fault", FOR_S) == ""
        witness = await bench.witness()
    assert witness["touched"] is False
    assert "no client was connected" in witness["reason"]


@pytest.mark.parametrize(
    "fault", [Latency("redis-cache"), Blackhole("redis-cache")], ids=lambda fault: fault.kind
)
async def test_a_connection_without_traffic_is_not_touched(bench: Bench, fault: Fault) -> None:
    """A client that is connected and silent has not met the fault."""
    reader, writer = await asyncio.open_connection(*bench.address("edge-redis-cache"))
    writer.write(PING)
    assert await asyncio.wait_for(reader.read(64), 5.0) == b"+PONG\r\n"
    await bench.faults.apply(fault, "fault", FOR_S)
    witness = await bench.witness()
    writer.close()
    assert witness["touched"] is False
    assert "sent nothing" in witness["reason"]


async def test_other_edges_are_left_alone(bench: Bench) -> None:
    """While one edge of Redis is a black hole, clients of the other lose nothing."""
    async with clients_of(bench.address("edge-redis-broker")) as others:
        await bench.faults.apply(Blackhole("redis-cache"), "fault", FOR_S)
        served = others.answered
        await until(lambda: others.answered > served + 20, "the other edge serves on")
        await bench.faults.heal_all()
        assert others.failed == 0


async def test_a_heal_behind_a_dead_server_proves_the_route(bench: Bench) -> None:
    """With the server itself down, an edge is healed when it accepts again; nothing more can be asked of it."""
    await bench.faults.apply(Latency("redis-cache"), "fault", FOR_S)
    await bench.stack.kill("redis")
    await bench.faults.heal_all()
    assert bench.api("redis-cache").proxy("redis-cache").clean
    assert await bench.faults.residue() == ["redis is exited"]
