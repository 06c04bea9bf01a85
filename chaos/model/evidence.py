"""Everything recorded in a run folder, read back as one value: the only input of a check and of a report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from chaos.errors import UsageError
from chaos.model.invariants import Acknowledged
from chaos.model.run import InjectionRecord, Plan

if TYPE_CHECKING:
    from pathlib import Path

ARRIVAL_CLASSES = ("ok", "degraded", "error", "timeout", "censored", "dropped")
BAD_CLASSES = ("error", "timeout", "censored", "dropped")
ARRIVAL_COLUMNS = (
    "n",
    "journey",
    "route",
    "due_s",
    "sent_s",
    "done_s",
    "status",
    "class",
    "degraded",
    "correlation_id",
    "phase",
)
SAMPLE_COLUMNS = ("name", "labels", "t_s", "value")


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One state change of one alert, as `source` ("prometheus" or "alertmanager") showed it.

    `state` is "pending", "firing" or "resolved"; `t_s` when the change was seen.
    """

    t_s: float
    source: str
    name: str
    labels: dict[str, str]
    state: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert inside one webhook delivery: `status` is "firing" or "resolved"."""

    t_s: float
    status: str
    name: str
    labels: dict[str, str]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log line of a component that checks look at, `t_s` on the run's clock."""

    t_s: float
    component: str
    event: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run folder in memory. Times are seconds from the plan's anchor.

    `arrivals` has the columns ARRIVAL_COLUMNS (`degraded`: comma-separated features, "" for none; `done_s` is NaN
    where no answer came), `samples` the columns SAMPLE_COLUMNS (`labels`: JSON object with sorted keys).
    `monitoring` and `generator` are facts that honesty checks read; `invariants` what the final reads found, and
    `acknowledged` the writes that clients hold a receipt for.
    """

    plan: Plan
    arrivals: pd.DataFrame
    samples: pd.DataFrame
    alert_events: tuple[AlertEvent, ...]
    deliveries: tuple[Delivery, ...]
    injections: tuple[InjectionRecord, ...]
    log_events: tuple[LogEvent, ...]
    invariants: dict[str, Any]
    monitoring: dict[str, Any]
    generator: dict[str, Any]
    acknowledged: tuple[Acknowledged, ...] = ()

    def within(self, phase: str) -> pd.DataFrame:
        """Return the arrivals that were due in `phase`."""
        start, end = self.plan.window(phase)
        due = self.arrivals["due_s"]
        return self.arrivals[(due >= start) & (due < end)]

    def series(self, name: str, **labels: str) -> pd.DataFrame:
        """Return the samples called `name` whose labels include `labels`, in order of time."""
        rows = self.samples[self.samples["name"] == name]
        for key, value in labels.items():
            needle = f'"{key}": {json.dumps(value)}'
            rows = rows[rows["labels"].str.contains(needle, regex=False)]
        return rows.sort_values("t_s")


def load_evidence(folder: Path) -> Evidence:
    """Read a run folder. A missing file is empty evidence, never an error; a missing plan is a `UsageError`."""
    plan_path = folder / "plan.json"
    if not plan_path.is_file():
        raise UsageError(
            f"{folder} is no run folder: it has no plan.json; expected reports/runs/<utc>-<scenario>"
        )
    return Evidence(
        plan=Plan.from_json(json.loads(plan_path.read_text())),
        arrivals=_frame(folder / "arrivals.parquet", ARRIVAL_COLUMNS),
        samples=_frame(folder / "samples.parquet", SAMPLE_COLUMNS),
        alert_events=tuple(AlertEvent(**x) for x in read_jsonl(folder / "alerts.jsonl")),
        deliveries=tuple(Delivery(**x) for x in read_jsonl(folder / "webhook.jsonl")),
        injections=injections_from_journal(read_jsonl(folder / "injections.jsonl")),
        log_events=tuple(LogEvent(**x) for x in read_jsonl(folder / "events.jsonl")),
        invariants=_json(folder / "invariants.json"),
        monitoring=_json(folder / "monitoring.json"),
        generator=_json(folder / "generator.json"),
        acknowledged=load_acknowledged(folder),
    )


def load_acknowledged(folder: Path) -> tuple[Acknowledged, ...]:
    """Read the writes that clients hold a receipt for, in the order in which they were acknowledged."""
    return tuple(Acknowledged(**line) for line in read_jsonl(folder / "acknowledged.jsonl"))


def injections_from_journal(lines: list[dict[str, Any]]) -> tuple[InjectionRecord, ...]:
    """Fold the journal's lines (`id`, `event`, `t_s`, ...) into one record an injection, in the order asked.

    Events: `asked` (with `fault`, `target`, `phase`), `confirmed`, `witnessed` (with `witness`), `healed`,
    `problem` (with `problem`).
    """
    folded: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line["event"] == "asked":
            folded[line["id"]] = {
                "id": line["id"],
                "fault": line["fault"],
                "target": line["fault"]["target"],
                "phase": line.get("phase", ""),
                "asked_s": line["t_s"],
                "confirmed_s": None,
                "healed_s": None,
                "witness": {},
                "problem": "",
            }
            continue
        record = folded.get(line["id"])
        if record is None:
            continue
        if line["event"] in {"confirmed", "healed"}:
            record[f"{line['event']}_s"] = line["t_s"]
        elif line["event"] == "witnessed":
            record["witness"] = line["witness"]
        elif line["event"] == "problem":
            record["problem"] = line["problem"]
    return tuple(InjectionRecord(**r) for r in folded.values())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line that was cut off by a crash is left out."""
    if not path.is_file():
        return []
    out: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _frame(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=list(columns))
