"""A scenario's timeline: which step is due when. Pure, so that rehearsal and run walk the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from chaos.model.scenario import Scenario

Action = Literal["begin", "inject", "heal", "end"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the runner does at `t_s` seconds: begin a phase, inject or heal its faults, end the load.

    For `inject`, `until_s` is when the fault's heal is planned.
    """

    t_s: float
    action: Action
    phase: str
    fault: Fault | None = None
    until_s: float = 0.0


def timeline(scenario: Scenario) -> tuple[Step, ...]:
    """Return the steps in order; every `inject` is followed by the `heal` of its phase."""
    steps: list[Step] = []
    for phase in scenario.phases:
        start, end = scenario.window(phase.name)
        steps.append(Step(start, "begin", phase.name))
        steps.extend(Step(start, "inject", phase.name, fault, end) for fault in phase.faults)
        if phase.faults:
            steps.append(Step(end, "heal", phase.name))
    steps.append(Step(scenario.duration_s, "end", scenario.phases[-1].name))
    return tuple(steps)
