"""The index over all runs: `index.html` for people, `index.json` for tools; newest first.

It reads the `run.json` of every run and nothing else, so it stays quick over hundreds of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from chaos.errors import UsageError
from chaos.model.run import Plan
from chaos.model.verdict import Verdict
from reports.folder import UNREADABLE, read_result, write_atomically
from reports.page import page
from reports.wording import GUARDS, moment, place, total_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model.run import RunResult

INDEX_SCHEMA = "chaosbed/index/1"
UNFINISHED = "UNFINISHED"
HISTORY = 24
_GOOD = ("ok", "degraded")
_CLASSES = (*_GOOD, "error", "timeout", "censored", "dropped")


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the index. `verdict` is UNFINISHED for a folder without a readable `run.json`."""

    folder: str
    link: str
    verdict: str
    scenario: str
    claim: str
    started_at: str
    when: str
    total_s: float | None
    arrivals: int
    bad_fraction: float | None
    degraded_fraction: float | None
    held: int
    judged: int
    alerts_fired: int
    first_detect_s: float | None
    recovery_s: float | None
    decided_by: str


def render_index(runs: Path) -> Path:
    """Write `index.html` and `index.json` into the folder of all run folders; return the page.

    A run without a readable result is listed as UNFINISHED. Raises `UsageError` when `runs` is no
    folder.
    """
    if not runs.is_dir():
        raise UsageError(
            f"{runs} is no folder; expected the folder that holds the runs, like reports/runs"
        )
    entries = [_entry(f) for f in runs.iterdir() if f.is_dir() and _is_run(f)]
    entries.sort(key=lambda e: (e.started_at, e.folder), reverse=True)
    data = {"schema": INDEX_SCHEMA, "runs": [asdict(e) for e in entries]}
    write_atomically(runs / "index.json", json.dumps(data, indent=1) + "\n")
    path = runs / "index.html"
    counts = {
        v: sum(e.verdict == v for e in entries) for v in (*(v.value for v in Verdict), UNFINISHED)
    }
    write_atomically(
        path,
        page("index.html.j2", entries=entries, history=_history(entries), counts=counts),
    )
    return path


def _is_run(folder: Path) -> bool:
    return not folder.is_symlink() and any(
        (folder / name).is_file() for name in ("run.json", "plan.json")
    )


def _history(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Return for every scenario its last runs, the oldest of them first, scenarios by name."""
    scenarios: dict[str, list[Entry]] = {}
    for entry in entries:
        scenarios.setdefault(entry.scenario, []).append(entry)
    return [(name, of[:HISTORY][::-1]) for name, of in sorted(scenarios.items())]


def _entry(folder: Path) -> Entry:
    try:
        result = read_result(folder)
    except UsageError as error:
        return _unfinished(folder, str(error))
    counts = {c: result.arrivals.get(c, 0) for c in _CLASSES}
    total = sum(counts.values())
    recovery = next((f.measured for f in result.findings if f.kind == "recovery"), None)
    detects = [
        a.detect_s for a in result.alerts if a.expected == "fires" and a.detect_s is not None
    ]
    report = "report.html" if (folder / "report.html").is_file() else "run.json"
    return Entry(
        folder=folder.name,
        link=f"{quote(folder.name)}/{report}",
        verdict=result.verdict.value,
        scenario=result.scenario,
        claim=result.claim,
        started_at=_utc(result.started_at),
        when=moment(result.started_at),
        total_s=total_s(result),
        arrivals=total,
        bad_fraction=1 - sum(counts[c] for c in _GOOD) / total if total else None,
        degraded_fraction=counts["degraded"] / total if total else None,
        held=sum(f.verdict is Verdict.PASS for f in result.findings),
        judged=len(result.findings),
        alerts_fired=sum(a.fired_s is not None and a.expected != "always" for a in result.alerts),
        first_detect_s=min(detects, default=None),
        recovery_s=recovery,
        decided_by=_decided_by(result),
    )


def _utc(started_at: str) -> str:
    """Return an ISO time in UTC, so that text sorts as time does; what is no ISO time stays."""
    try:
        at = datetime.fromisoformat(started_at)
    except ValueError:
        return started_at
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _decided_by(result: RunResult) -> str:
    """Name what kept a run from passing, "" for a pass."""
    if result.verdict is Verdict.PASS:
        return ""
    if result.problem:
        return result.problem
    wrong = [f for f in result.findings if f.verdict is not Verdict.PASS]
    guards = (
        [f for f in wrong if f.kind in GUARDS] if result.verdict is Verdict.INCONCLUSIVE else []
    )
    shown = 3
    names = [f"{f.name}, {place(f)}" for f in guards or wrong]
    what = {"FAIL": "broken: ", "INCONCLUSIVE": "undecided: "}.get(result.verdict.value, "")
    return (
        what
        + "; ".join(names[:shown])
        + (f" and {len(names) - shown} more" if len(names) > shown else "")
    )


def _unfinished(folder: Path, why: str) -> Entry:
    started, _, scenario = folder.name.partition("-")
    claim = ""
    try:
        plan = Plan.from_json(json.loads((folder / "plan.json").read_text("utf-8")))
        scenario, claim = plan.scenario, plan.claim
        started = datetime.fromtimestamp(plan.anchor_wall, UTC).isoformat()
    except (OverflowError, *UNREADABLE):
        pass  # what the folder's name says is all that is known
    return Entry(
        folder=folder.name,
        link=f"{quote(folder.name)}/",
        verdict=UNFINISHED,
        scenario=scenario or folder.name,
        claim=claim,
        started_at=_utc(started),
        when=moment(started),
        total_s=None,
        arrivals=0,
        bad_fraction=None,
        degraded_fraction=None,
        held=0,
        judged=0,
        alerts_fired=0,
        first_detect_s=None,
        recovery_s=None,
        decided_by=why,
    )
