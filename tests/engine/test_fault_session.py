"""What holds for every fault, whatever happens around it: order, cancellation, failures, leftovers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos.engine.faults import LEASE_GRACE_S, FaultSession
from chaos.engine.injectors.registry import INJECTORS, injector_for
from chaos.engine.journal import Journal, open_injections, read
from chaos.errors import HarnessError, HealError, UsageError
from chaos.model.evidence import injections_from_journal
from chaos.model.faults import FAULTS, Blackhole, Fault, Kill, Latency, Pause, Refuse
from tests.engine.clients import clients_of

if TYPE_CHECKING:
    from chaos.engine.injectors.base import Injector, Seen
    from chaos.runtime.base import Stack
    from tests.engine.conftest import Bench

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

FOR_S = 60.0


@dataclass(slots=True)
class Spoiled:
    """A real injector of which some methods do something else first, or nothing."""

    real: Injector
    spoil: dict[str, Any]
    calls: list[str] = field(default_factory=list)

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        self.calls.append(name)
        if name in self.spoil:
            return await self.spoil[name]()
        return await getattr(self.real, name)(*arguments, **options)

    async def undo_record(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """As the protocol says."""
        return dict(await self._call("undo_record", stack, fault))

    async def before(self, stack: Stack, fault: Fault) -> Seen:
        """As the protocol says."""
        return dict(await self._call("before", stack, fault))

    async def inject(self, stack: Stack, fault: Fault) -> None:
        """As the protocol says."""
        await self._call("inject", stack, fault)

    async def confirm(self, stack: Stack, fault: Fault) -> None:
        """As the protocol says."""
        await self._call("confirm", stack, fault)

    async def witness(self, stack: Stack, fault: Fault, before: Seen) -> dict[str, Any]:
        """As the protocol says."""
        return dict(await self._call("witness", stack, fault, before))

    async def heal(self, stack: Stack, fault: Fault, *, by_force: bool) -> None:
        """As the protocol says."""
        await self._call("heal", stack, fault, by_force=by_force)

    async def verify(self, stack: Stack, fault: Fault) -> None:
        """As the protocol says."""
        await self._call("verify", stack, fault)


def spoiled(bench: Bench, **spoil: Any) -> tuple[FaultSession, Spoiled]:
    """Return a session on the bench's stack whose injectors are spoiled."""
    injector = Spoiled(injector_for(Refuse("redis-cache")), spoil)
    return FaultSession(
        bench.stack, bench.faults.journal, bench.faults.now_s, lambda _: injector
    ), injector


async def nothing() -> None:
    """Do nothing, as a disabled injector would."""


def test_every_fault_has_an_injector() -> None:
    """No fault that a scenario can name is without a way to bring it about."""
    assert set(INJECTORS) == set(FAULTS.values())


async def test_the_journal_is_written_before_the_fault_acts(bench: Bench) -> None:
    """When the injector acts, the line by which anybody can undo it is on disk already."""
    seen: list[dict[str, Any]] = []

    async def look() -> None:
        seen.extend(open_injections(bench.journal))

    faults, _ = spoiled(bench, inject=look)
    asked_wall = time.time()
    await faults.apply(Refuse("redis-cache"), "fault", faults.now_s() + 10.0)
    (line,) = seen
    assert (line["event"], line["phase"]) == ("asked", "fault")
    assert line["fault"] == {"kind": "refuse", "target": "redis-cache"}
    assert line["lease_until_wall"] == pytest.approx(asked_wall + 10.0 + LEASE_GRACE_S, abs=0.5)
    edge_pid = (await bench.stack.state("edge-redis-cache")).pid
    host, port = bench.stack.address("edge-redis-cache", 8474)
    assert line["undo"] == {
        "family": "network",
        "host": host,
        "port": port,
        "proxy": "redis-cache",
        "toxics": [],
        "component": "edge-redis-cache",
        "pid": edge_pid,
        "pgid": edge_pid,
    }


async def test_a_disabled_injector_is_never_confirmed(bench: Bench) -> None:
    """An injector that does nothing leaves a problem and no confirmation, so the run cannot pass."""
    faults, _ = spoiled(bench, inject=nothing)
    async with clients_of(bench.address("edge-redis-cache")):
        problem = await faults.apply(Refuse("redis-cache"), "fault", FOR_S)
    assert "is not in force" in problem
    (record,) = injections_from_journal(read(bench.journal))
    assert (record.confirmed_s, record.witness, record.problem) == (None, {}, problem)
    assert faults.in_force() == ()


async def test_faults_heal_in_reverse(bench: Bench) -> None:
    """What was broken last is mended first."""
    await bench.faults.apply(Latency("redis-cache"), "fault", FOR_S)
    await bench.faults.apply(Refuse("redis-broker"), "fault", FOR_S)
    await bench.faults.apply(Pause("redis"), "fault", FOR_S)
    await bench.faults.heal_all()
    healed = [line["id"] for line in read(bench.journal) if line["event"] == "healed"]
    assert healed == ["i3", "i2", "i1"]
    assert await bench.faults.residue() == []


async def test_only_what_is_due_is_healed(bench: Bench) -> None:
    """Each fault of a living stack ends at its own time."""
    await bench.faults.apply(Latency("redis-cache"), "by-hand", 10.0)
    await bench.faults.apply(Refuse("redis-broker"), "by-hand", 20.0)
    await bench.faults.heal_due(10.0)
    assert bench.faults.in_force() == ("refuse redis-broker",)


async def test_one_target_has_one_fault(bench: Bench) -> None:
    """A second fault on the same target is refused with words, before anything is journalled."""
    await bench.faults.apply(Latency("redis-cache"), "fault", FOR_S)
    with pytest.raises(UsageError, match=r"latency redis-cache .* is already in force"):
        await bench.faults.apply(Blackhole("redis-cache"), "fault", FOR_S)
    assert bench.events().count("asked") == 1


async def test_healing_twice_is_harmless(bench: Bench) -> None:
    """Every exit path may heal without asking whether another one has."""
    await bench.faults.apply(Refuse("redis-cache"), "fault", FOR_S)
    await asyncio.gather(bench.faults.heal_all(), bench.faults.heal_all())
    await bench.faults.heal_all()
    assert bench.events().count("healed") == 1


async def test_cancellation_never_leaves_a_fault_half_injected(bench: Bench) -> None:
    """Cancelled in the middle of the act, the act ends first, and the heal finds what it did."""
    started, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        started.set()
        await goes_on.wait()
        api = bench.api("redis-cache")
        await asyncio.to_thread(api.set_enabled, "redis-cache", enabled=False)

    faults, _ = spoiled(bench, inject=slowly)
    task = asyncio.create_task(faults.apply(Refuse("redis-cache"), "fault", FOR_S))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert faults.in_force() == ("refuse redis-cache",)
    await faults.heal_all()
    assert bench.api("redis-cache").proxy("redis-cache").clean


async def test_cancellation_never_stops_a_heal(bench: Bench) -> None:
    """However often it is cancelled, a heal that has begun ends, and only then is cancelled."""
    await bench.faults.apply(Latency("redis-cache"), "fault", FOR_S)
    await bench.faults.apply(Kill("redis"), "fault", FOR_S)
    task = asyncio.create_task(bench.faults.heal_all())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.faults.in_force() == ()
    assert await bench.faults.residue() == []


async def test_an_early_heal_does_not_wait_for_a_witness(bench: Bench) -> None:
    """An interrupted run heals at once; the witness says why there is none."""
    await bench.faults.apply(Blackhole("redis-cache"), "fault", FOR_S)
    await asyncio.sleep(0)
    await asyncio.wait_for(bench.faults.heal_all(), 2.0)
    witness = bench.last("witnessed")["witness"]
    assert witness["touched"] is False
    assert "healed before" in witness["reason"]


async def test_a_gentle_heal_that_failed_is_followed_by_force(bench: Bench) -> None:
    """When traffic does not flow after the undo, the edge's Toxiproxy is started again."""
    faults, injector = spoiled(bench)
    await faults.apply(Refuse("redis-cache"), "fault", FOR_S)
    real_pid = (await bench.stack.state("edge-redis-cache")).pid

    async def heal() -> None:
        if injector.calls.count("heal") > 1:
            await bench.stack.restart("edge-redis-cache")

    injector.spoil["heal"] = heal
    await faults.heal_all()
    assert (await bench.stack.state("edge-redis-cache")).pid != real_pid
    assert bench.last("healed")["by_force"] is True
    assert "does not serve after the heal" in bench.last("healing")["because"]


async def test_what_cannot_be_undone_is_named(bench: Bench) -> None:
    """A heal that fails raises an error with what is left and how to clear it, and keeps it for a later try."""
    faults, injector = spoiled(bench)
    await faults.apply(Refuse("redis-cache"), "fault", FOR_S)

    async def fail() -> None:
        raise HarnessError("no way")

    injector.spoil["heal"] = fail
    with pytest.raises(HealError, match=r"refuse redis-cache: no way; .*chaosbed down") as caught:
        await faults.heal_all()
    assert caught.value.exit_code == 4
    assert await faults.residue() == ["redis-cache: its route is disabled"]
    injector.spoil.clear()
    await faults.heal_all()
    assert await faults.residue() == []


async def test_a_witness_that_fails_is_no_witness(bench: Bench) -> None:
    """An edge that vanished while it was looked at gives touched False with a reason, and no error."""
    await bench.faults.apply(Latency("redis-cache"), "fault", FOR_S)
    witness = await injector_for(Latency("redis-cache")).witness(
        bench.stack, Latency("redis-cache"), {}
    )
    assert witness["touched"] is False
    assert "snapshot" in witness["reason"]


async def test_without_a_journal_nothing_is_injected(bench: Bench) -> None:
    """On a full disk the fault is refused before it acts, since nobody could undo it later."""
    full = FaultSession(
        bench.stack, Journal(Path("/dev/full"), bench.faults.now_s), bench.faults.now_s
    )
    with pytest.raises(HarnessError, match="was not injected: the journal /dev/full"):
        await full.apply(Refuse("redis-cache"), "fault", FOR_S)
    assert bench.api("redis-cache").proxy("redis-cache").clean
    assert full.in_force() == ()


async def test_a_disk_that_fills_up_does_not_stop_the_heal(bench: Bench) -> None:
    """What cannot be written down is healed all the same."""
    await bench.faults.apply(Refuse("redis-cache"), "fault", FOR_S)
    bench.journal.rename(bench.journal.with_suffix(".kept"))
    bench.journal.symlink_to("/dev/full")
    await bench.faults.heal_all()
    bench.journal.unlink()
    assert await bench.faults.residue() == []


async def test_residue_names_everything_that_is_not_as_it_should_be(bench: Bench) -> None:
    """Toxics, closed routes, paused and dead components, and an edge that does not answer, each in words."""
    await bench.faults.apply(Latency("redis-cache"), "fault", FOR_S)
    await bench.faults.apply(Refuse("redis-broker"), "fault", FOR_S)
    await bench.stack.pause("echo")
    await bench.stack.kill("edge-echo")
    found = await bench.faults.residue()
    await bench.stack.restart("edge-echo")
    await bench.stack.resume("echo")
    assert found[:2] == [
        "redis-cache: toxics chaosbed_latency_downstream",
        "redis-broker: its route is disabled",
    ]
    assert "does this Toxiproxy run?" in found[2]
    assert found[3:] == ["echo is paused", "edge-echo is exited"]
