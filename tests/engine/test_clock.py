"""Virtual time moves only when it is told to."""

from __future__ import annotations

import asyncio

from chaos.engine.clock import VirtualClock
from chaos.engine.timeline import timeline
from chaos.model.expectations import OtherAlertsSilent
from chaos.model.faults import Refuse
from chaos.model.scenario import Load, Phase, Scenario

SCENARIO = Scenario(
    "x",
    "claim",
    Load(1, (("read", 1.0),)),
    (Phase("calm", 100), Phase("storm", 200, (Refuse("a"), Refuse("b"))), Phase("after", 50)),
    (OtherAlertsSilent(),),
)


async def test_sleepers_wake_in_order_at_their_own_times() -> None:
    """350 virtual seconds of a timeline pass at once, each step at its own time."""
    clock = VirtualClock()
    seen: list[tuple[float, str, str]] = []

    async def walk() -> None:
        for step in timeline(SCENARIO):
            await clock.sleep_until(step.t_s)
            seen.append(
                (clock.now_s(), step.action, step.fault.target if step.fault else step.phase)
            )

    task = asyncio.create_task(walk())
    await clock.advance(99)
    assert seen == [(0.0, "begin", "calm")]
    await clock.advance(1_000)
    await task

    assert seen[1:] == [
        (100.0, "begin", "storm"),
        (100.0, "inject", "a"),
        (100.0, "inject", "b"),
        (300.0, "heal", "storm"),
        (300.0, "begin", "after"),
        (350.0, "end", "after"),
    ]
