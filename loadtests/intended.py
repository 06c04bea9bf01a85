"""What a plan intends: its load and phases as values, and from them every arrival that is due."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from chaos.errors import UsageError
from chaos.model.run import Plan
from chaos.model.scenario import Load, Phase
from chaos.model.schedule import Due, schedule

if TYPE_CHECKING:
    from pathlib import Path

ROUND_S = 9
"""Digits that undo the rounding error of `end_s - start_s`, so that both sides draw the same schedule."""


def read_plan(folder: Path) -> Plan:
    """Return the plan in `folder`. Raises `UsageError` when there is none or it cannot be read."""
    path = folder / "plan.json"
    try:
        return Plan.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: {error!r}; expected a plan as `chaosbed run` writes it into a run folder"
        ) from error


def intended(plan: Plan) -> tuple[Due, ...]:
    """Return every arrival that the plan intends, in order of its due time.

    Raises `UsageError` when their number is not the plan's: then the plan was made by other code than this.
    """
    arrivals: Literal["poisson", "uniform"] = "uniform" if plan.arrivals == "uniform" else "poisson"
    load = Load(plan.rate_rps, plan.journeys, arrivals)
    phases = [
        Phase(w.name, round(w.end_s - w.start_s, ROUND_S), load_factor=w.load_factor)
        for w in plan.phases
    ]
    due = schedule(load, phases, plan.seed)
    if len(due) != plan.intended:
        raise UsageError(
            f"the plan intends {plan.intended} arrivals but its schedule has {len(due)}; "
            "expected a plan of this version, so run the scenario again"
        )
    return due
