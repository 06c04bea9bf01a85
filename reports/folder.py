"""Read a run folder for rendering: whatever is there, with the names of what is not."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaos.errors import UsageError
from chaos.model.run import Plan, RunResult

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.model.evidence import Evidence

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
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run as it can be rendered. `missing` are (file, what it holds), `problem` why evidence was unreadable."""

    name: str
    result: RunResult
    evidence: Evidence
    missing: tuple[tuple[str, str], ...]
    problem: str = ""


def read_result(folder: Path) -> RunResult:
    """Return `run.json` as a value, or raise `UsageError` with the next step."""
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(f"{folder} has no run.json; expected a judged run: chaosbed judge {folder}")
    try:
        return RunResult.from_json(json.loads(path.read_text("utf-8")))
    except _BROKEN as error:
        raise UsageError(f"{path} is no result of a run ({error}); judge it again: chaosbed judge {folder}") from error


def read_folder(folder: Path) -> RunFolder:
    """Read a run folder; evidence that is missing or broken is left empty and named.

    Raises `UsageError` when there is no readable `run.json`, since then there is no verdict to show.
    """
    from chaos.model.evidence import load_evidence  # noqa: PLC0415 (pandas: the index over runs does without)

    result = read_result(folder)
    missing = tuple((name, what) for name, what in PIECES.items() if not (folder / name).is_file())
    problem = ""
    try:
        evidence = load_evidence(folder)
    except UsageError:
        evidence = _nothing(result)
    except _BROKEN as error:
        problem = f"the evidence could not be read ({type(error).__name__}: {error})"
        evidence = _nothing(result, _plan(folder))
    return RunFolder(folder.resolve().name, result, evidence, missing, problem)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one, never a half."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _plan(folder: Path) -> Plan | None:
    try:
        return Plan.from_json(json.loads((folder / "plan.json").read_text("utf-8")))
    except _BROKEN:
        return None


def _nothing(result: RunResult, plan: Plan | None = None) -> Evidence:
    import pandas as pd  # noqa: PLC0415 (see read_folder)

    from chaos.model.evidence import ARRIVAL_COLUMNS, SAMPLE_COLUMNS, Evidence  # noqa: PLC0415

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
