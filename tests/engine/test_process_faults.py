"""Process faults on real components: met, proved, undone, proved gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.model.faults import Kill, Pause
from tests.engine.clients import clients_of, until

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from tests.engine.conftest import Bench

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

FOR_S = 60.0


@pytest.mark.parametrize(
    ("fault", "kernel_states", "probe"),
    [(Kill("redis"), {"", "Z"}, "refused"), (Pause("redis"), {"T"}, "silent")],
    ids=lambda value: value.kind if isinstance(value, Kill | Pause) else "",
)
async def test_a_process_is_met_and_comes_back(
    bench: Bench, fault: Fault, kernel_states: set[str], probe: str
) -> None:
    """The kernel's own word and a fresh connection show the fault; afterwards clients of an edge are served again."""
    async with clients_of(bench.address("edge-redis-cache")) as clients:
        assert await bench.faults.apply(fault, "fault", FOR_S) == ""
        witness = await bench.witness()
        assert witness["touched"], witness
        assert witness["kernel_state"] in kernel_states
        assert (witness["probe_before"], witness["probe"]) == ("answered", probe)
        await bench.faults.heal_all()
        served = clients.answered
        await until(lambda: clients.answered > served + 20, "the clients are served again")
    assert bench.events() == ["asked", "confirmed", "witnessed", "healing", "healed"]
    assert await bench.faults.residue() == []


async def test_a_process_that_was_down_before_was_not_touched(bench: Bench) -> None:
    """Killing what is dead reads back as asked and still proves nothing."""
    await bench.stack.kill("redis")
    assert await bench.faults.apply(Kill("redis"), "fault", FOR_S) == ""
    witness = await bench.witness()
    assert witness["touched"] is False
    assert "was exited before" in witness["reason"]


async def test_pausing_what_is_down_is_a_problem(bench: Bench) -> None:
    """A fault that cannot be brought into force is journalled as a problem and left by nothing."""
    await bench.stack.kill("redis")
    problem = await bench.faults.apply(Pause("redis"), "fault", FOR_S)
    assert "cannot pause redis" in problem
    assert bench.faults.in_force() == ()
    assert "confirmed" not in bench.events()
    assert bench.last("problem")["problem"] == problem


async def test_a_paused_process_that_died_is_started_again(bench: Bench) -> None:
    """When resuming does not bring the component back, the heal starts it again."""
    await bench.faults.apply(Pause("redis"), "fault", FOR_S)
    await bench.stack.kill("redis")
    await bench.faults.heal_all()
    assert bench.last("healed")["by_force"] is True
    assert await bench.faults.residue() == []
