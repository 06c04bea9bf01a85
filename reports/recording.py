"""Read a run folder for rendering: whatever is there, with the names of what is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from chaos.errors import UsageError
from chaos.model.evidence import ARRIVAL_COLUMNS, SAMPLE_COLUMNS, Evidence, load_evidence
from chaos.model.run import Plan
from reports.folder import UNREADABLE, read_result

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.model.run import RunResult

PIECES = {
    "plan.json": "the plan: phases, load, versions",
    "arrivals.parquet": "the ledger of arrivals",
    "samples.parquet": "metrics and probes",
    "alerts.jsonl": "alert states",
    "webhook.jsonl": "alert deliveries",
    "injections.jsonl": "the fault journal",
    "invariants.json": "the final reads",
    "monitoring.json": "the monitoring's own health",
    "generator.json": "the load generator's own health",
}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run as it can be rendered.

    `missing` are (file, what it holds) pairs, `problem` says why evidence was unreadable.
    """

    name: str
    result: RunResult
    evidence: Evidence
    missing: tuple[tuple[str, str], ...]
    problem: str = ""


def read_folder(folder: Path) -> RunFolder:
    """Read a run folder; evidence that is missing or broken is left empty and named.

    Raises `UsageError` without a readable `run.json`, since then there is no verdict to show.
    """
    result = read_result(folder)
    missing = tuple((name, what) for name, what in PIECES.items() if not (folder / name).is_file())
    problem = ""
    try:
        evidence = load_evidence(folder)
    except UsageError:
        evidence = _nothing(result)
    except UNREADABLE as error:
        problem = f"the evidence could not be read ({type(error).__name__}: {error})"
        evidence = _nothing(result, _plan(folder))
    return RunFolder(folder.resolve().name, result, evidence, missing, problem)


def _plan(folder: Path) -> Plan | None:
    try:
        return Plan.from_json(json.loads((folder / "plan.json").read_text("utf-8")))
    except UNREADABLE:
        return None


def _nothing(result: RunResult, plan: Plan | None = None) -> Evidence:
    empty: dict[str, Any] = {}
    return Evidence(
        plan=plan or _plan_of(result),
        arrivals=pd.DataFrame(columns=list(ARRIVAL_COLUMNS)),
        samples=pd.DataFrame(columns=list(SAMPLE_COLUMNS)),
        alert_events=(),
        deliveries=(),
        injections=(),
        log_events=(),
        invariants=empty,
        monitoring=empty,
        generator=empty,
    )


def _plan_of(result: RunResult) -> Plan:
    """Return as much of a plan as the result knows, without phases."""
    try:
        wall = datetime.fromisoformat(result.started_at).astimezone(UTC).timestamp()
    except ValueError:
        wall = 0.0
    return Plan(
        scenario=result.scenario,
        claim=result.claim,
        seed=result.seed,
        time_scale=result.time_scale,
        runtime=result.runtime,
        rate_rps=0.0,
        arrivals="",
        journeys=(),
        phases=(),
        intended=0,
        topology_digest="",
        anchor_wall=wall,
        anchor_monotonic=0.0,
    )
