"""Run folders made from values: the real file formats, the same bytes every time, without a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from chaos.model.evidence import ARRIVAL_CLASSES, ARRIVAL_COLUMNS
from chaos.model.run import AlertRecord, InjectionRecord, PhaseWindow, Plan, RunResult
from chaos.model.slo import wilson
from chaos.model.verdict import Finding, Verdict
from tests.reports.files import dump as _dump
from tests.reports.files import lines as _lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ROUTES = {
    "watch_page": "/api/v1/videos/{video_id}",
    "trending": "/api/v1/videos/trending",
    "browse": "/api/v1/videos",
    "thumbnail": "/api/v1/videos/{video_id}/thumbnail",
    "view": "POST /api/v1/videos/{video_id}/views",
}
WEIGHTS = (4.0, 2.0, 1.5, 1.5, 1.0)
CACHED = ("watch_page", "trending", "browse")
ASKED_S, CONFIRMED_S, HEALED_S = 16.01, 16.06, 28.04
BREAKERS = ("postgres", "redis-broker", "redis-cache", "s3")
SILENT = (
    "ApiDown",
    "DatabaseDown",
    "HighErrorRate",
    "HighResponseTime",
    "SloBurnRatePage",
)
FAULT = {"kind": "refuse", "target": "redis-cache"}


@dataclass(frozen=True, slots=True)
class Story:
    """What the made-up run went like.

    `fault_class` is how cached routes are answered while the fault is in force.
    """

    scenario: str = "redis-down"
    claim: str = (
        "Without its cache every page is still answered in time, and says that it is degraded."
    )
    verdict: Verdict = Verdict.PASS
    rate_rps: float = 110.0
    fault_class: str = "degraded"
    witnessed: bool = True
    started_at: str = "2026-03-14T09:26:53+00:00"
    correlation_prefix: str = "c0ffee"
    problem: str = ""
    command: str = "chaosbed run redis-down --runtime local --time-scale 60 --rate 110 --seed 7"


def write_run(folder: Path, story: Story = Story()) -> Path:
    """Write a whole run folder and return it."""
    folder.mkdir(parents=True)
    plan, arrivals = _plan(story), _arrivals(story)
    plan = replace(plan, intended=len(arrivals))
    _dump(folder / "plan.json", plan.to_json())
    arrivals.to_parquet(folder / "arrivals.parquet")
    _samples().to_parquet(folder / "samples.parquet")
    _lines(folder / "alerts.jsonl", _alert_events())
    _lines(folder / "webhook.jsonl", _deliveries())
    _lines(folder / "injections.jsonl", _journal(story))
    _dump(
        folder / "invariants.json",
        {"views": {"acknowledged": 371, "stored": 371, "lost": 0, "doubled": 0}},
    )
    _dump(folder / "monitoring.json", _monitoring())
    _dump(folder / "generator.json", _generator(len(arrivals)))
    _dump(folder / "run.json", _result(story, plan, arrivals).to_json())
    return folder


def write_early_error(folder: Path) -> Path:
    """Write what a run leaves behind that failed before the load: only its plan and its result."""
    folder.mkdir(parents=True)
    story = Story(
        verdict=Verdict.ERROR,
        problem="prometheus did not answer on /-/ready within 20 s; see its log",
    )
    _dump(folder / "plan.json", _plan(story).to_json())
    result = replace(
        _result(story, _plan(story), _arrivals(replace(story, rate_rps=0))),
        findings=(),
        injections=(),
        alerts=(),
        honesty={},
    )
    _dump(folder / "run.json", result.to_json())
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a run folder of a story's values under `name`."""

    def make(name: str = "20260314T092653Z-redis-down", **values: Any) -> Path:
        return write_run(tmp_path / name, Story(**values))

    return make


@pytest.fixture
def early_error(tmp_path: Path) -> Path:
    """Return the folder of a run that failed before the load."""
    return write_early_error(tmp_path / "20260314T100000Z-redis-down")


def _plan(story: Story) -> Plan:
    fault = dict(FAULT)
    return Plan(
        scenario=story.scenario,
        claim=story.claim,
        seed=7,
        time_scale=60.0,
        runtime="local",
        rate_rps=story.rate_rps,
        arrivals="poisson",
        journeys=tuple(zip(ROUTES, WEIGHTS, strict=True)),
        phases=(
            PhaseWindow("warm-up", 0.0, 4.0, 1.0),
            PhaseWindow("baseline", 4.0, 16.0, 1.0),
            PhaseWindow("fault", 16.0, 28.0, 1.0, (fault,)),
            PhaseWindow("recovery", 28.0, 40.0, 1.0),
        ),
        intended=0,
        topology_digest="sha256:5f1c0c5d9ad1",
        anchor_wall=1_773_480_413.0,
        anchor_monotonic=5_000.0,
        versions={
            "chaosbed": "0.1.0",
            "prometheus": "3.16.0",
            "toxiproxy": "2.12.0",
            "python": "3.11.2",
        },
        command=story.command,
    )


def _arrivals(story: Story) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    count = int(story.rate_rps * 40)
    due = np.sort(rng.uniform(0, 40, count))
    weights = np.array(WEIGHTS) / sum(WEIGHTS)
    journeys = rng.choice(list(ROUTES), size=count, p=weights)
    hit = (due >= CONFIRMED_S) & (due < HEALED_S + 0.4) & np.isin(journeys, CACHED)
    kinds = np.where(hit, story.fault_class, "ok")
    speed = rng.lognormal(np.log(np.where(hit, 0.019, 0.0052)), 0.45)
    spike = (due >= CONFIRMED_S) & (due < CONFIRMED_S + 0.7) & hit
    speed = np.where(spike, speed + rng.uniform(0.05, 0.31, count), speed)
    speed = np.where(kinds == "timeout", 2.0, speed)
    sent = due + rng.exponential(0.0003, count)
    done = np.where(np.isin(kinds, ("censored", "dropped")), np.nan, sent + speed)
    status = np.select(
        [kinds == "error", np.isin(kinds, ("timeout", "censored", "dropped"))],
        [503, 0],
        200,
    )
    return pd.DataFrame(
        {
            "n": np.arange(count),
            "journey": journeys,
            "route": [ROUTES[j] for j in journeys],
            "due_s": due,
            "sent_s": sent,
            "done_s": done,
            "status": status,
            "class": kinds,
            "degraded": np.where(kinds == "degraded", "cache", ""),
            "correlation_id": [f"{story.correlation_prefix}-{n:06d}" for n in range(count)],
            "phase": np.select(
                [due < 4, due < 16, due < 28],
                ["warm-up", "baseline", "fault"],
                "recovery",
            ),
        },
        columns=list(ARRIVAL_COLUMNS),
    )


def _samples() -> pd.DataFrame:
    rows = []
    for t_s in np.arange(0, 40, 0.25):
        for name in BREAKERS:
            now = _breaker_state(name, float(t_s))
            for state in ("closed", "half_open", "open"):
                labels = json.dumps({"name": name, "state": state}, sort_keys=True)
                rows.append(("app_breaker_state", labels, float(t_s), float(now == state)))
    return pd.DataFrame(rows, columns=["name", "labels", "t_s", "value"])


def _breaker_state(name: str, t_s: float) -> str:
    if name != "redis-cache" or not CONFIRMED_S + 0.4 <= t_s < HEALED_S + 0.5:
        return "closed"
    return "half_open" if (t_s - CONFIRMED_S) % 1.5 < 0.3 else "open"


def _alert_events() -> list[dict[str, Any]]:
    dependency = {"dependency": "redis-cache", "severity": "ticket"}
    story: tuple[tuple[str, dict[str, str], tuple[tuple[float, str], ...]], ...] = (
        ("Watchdog", {}, ((0.0, "firing"),)),
        (
            "CacheDown",
            dependency,
            ((16.9, "pending"), (18.0, "firing"), (29.2, "resolved")),
        ),
        (
            "DependencyDown",
            dependency,
            ((17.1, "pending"), (19.3, "firing"), (29.4, "resolved")),
        ),
    )
    return [
        {
            "t_s": t,
            "source": "prometheus",
            "name": name,
            "labels": {"alertname": name, **labels},
            "state": state,
        }
        for name, labels, changes in story
        for t, state in changes
    ]


def _deliveries() -> list[dict[str, Any]]:
    labels = {"alertname": "CacheDown", "dependency": "redis-cache", "severity": "ticket"}
    return [
        {"t_s": t, "status": s, "name": "CacheDown", "labels": labels, "fingerprint": "ab12"}
        for t, s in ((18.5, "firing"), (30.1, "resolved"))
    ]


def _journal(story: Story) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {
            "id": "i1",
            "event": "asked",
            "t_s": ASKED_S,
            "fault": FAULT,
            "phase": "fault",
        },
        {"id": "i1", "event": "confirmed", "t_s": CONFIRMED_S},
    ]
    if story.witnessed:
        witness = {"touched": True, "connections_refused": 64, "requests_degraded": 871}
        lines.append({"id": "i1", "event": "witnessed", "t_s": 27.9, "witness": witness})
    return [*lines, {"id": "i1", "event": "healed", "t_s": HEALED_S}]


def _monitoring() -> dict[str, Any]:
    jobs = {"api": 160, "exporter": 160}
    return {
        "alive": True,
        "problem": "",
        "targets_up": dict.fromkeys(jobs, True),
        "scrapes_expected": jobs,
        "scrapes_seen": jobs,
        "scrapes_failed": dict.fromkeys(jobs, 0),
        "iterations_missed": 0,
        "evaluation_failures": 0,
        "rules_loaded": ["CacheDown", "DependencyDown", "Watchdog", *SILENT],
        "alerts_history": [{"name": "CacheDown", "labels": {}, "first_s": 18.0, "last_s": 29.0}],
        "poll_errors": {"prometheus": 0, "alertmanager": 0},
        "longest_gap_s": {"prometheus": 0.213, "alertmanager": 0.221},
        "watchdog_delivered": True,
        "server_outcomes": {"ok": 3398.0, "degraded": 1002.0},
    }


def _generator(count: int) -> dict[str, Any]:
    return {
        "send_lag_p50_ms": 0.21,
        "send_lag_p99_ms": 1.38,
        "dropped": 0,
        "censored": 0,
        "begun": count,
        "ended": count,
        "generator_cpu": 0.21,
        "intended": count,
        "finished": True,
    }


def _result(story: Story, plan: Plan, arrivals: pd.DataFrame) -> RunResult:
    counts = arrivals["class"].value_counts()
    lag = {"send_lag_p99_ms": 1.38, "dropped": 0, "censored": 0, "generator_cpu": 0.21}
    return RunResult(
        scenario=story.scenario,
        claim=story.claim,
        verdict=story.verdict,
        started_at=story.started_at,
        runtime="local",
        time_scale=60.0,
        seed=plan.seed,
        findings=tuple(_findings(story, arrivals)),
        injections=_injections(story),
        alerts=_alerts(),
        timings={
            "up_s": 4.8,
            "load_s": 40.6,
            "judge_s": 0.41,
            "report_s": 0.52,
            "total_s": 47.9,
        },
        honesty={
            **lag,
            "unaccounted": 0,
            "scrapes": {"api": 1.0, "exporter": 0.994},
            "rule_iterations_missed": 0,
            "poll_errors": {"prometheus": 0, "alertmanager": 0},
        },
        arrivals={c: int(counts.get(c, 0)) for c in ARRIVAL_CLASSES},
        environment={"python": "3.11.2", "cores": 2, "platform": "linux"},
        problem=story.problem,
    )


def _injections(story: Story) -> tuple[InjectionRecord, ...]:
    witness = {"touched": True, "connections_refused": 64} if story.witnessed else {}
    return (
        InjectionRecord(
            "i1", FAULT, "redis-cache", "fault", ASKED_S, CONFIRMED_S, HEALED_S, witness
        ),
    )


def _alerts() -> tuple[AlertRecord, ...]:
    labels = {"dependency": "redis-cache", "severity": "ticket"}
    return (
        AlertRecord("CacheDown", labels, "fires", 18.0, 29.2, 1.94, 18.5, 30.1),
        AlertRecord("DependencyDown", labels, "fires", 19.3, 29.4, 3.24),
        AlertRecord("Watchdog", {}, "always", 0.0, None, None),
        *(AlertRecord(name, {}, "silent", None, None, None) for name in SILENT),
    )


def _findings(story: Story, arrivals: pd.DataFrame) -> Iterable[Finding]:
    rows = arrivals[arrivals["due_s"] >= 4]
    bad = int((~rows["class"].isin(("ok", "degraded"))).sum())
    sure = wilson(bad, len(rows))
    held = Verdict.PASS if sure.high <= 0.001 else Verdict.FAIL
    held = held if len(rows) else Verdict.INCONCLUSIVE
    interval = f"95 % CI {sure.low * 100:.3g} to {sure.high * 100:.3g} %"
    text = f"{bad} of {len(rows)} arrivals bad ({interval}), limit 0.1 %"
    measured = sure.estimate if len(rows) else None
    yield Finding("slo", "availability holds", "run", held, measured, 0.001, "bad fraction", text)
    text = "0 of 1204 arrivals not within 500 ms (95 % CI 0 to 0.318 %), limit 1 %; p95 44.1 ms"
    yield Finding("slo", "latency holds", "fault", Verdict.PASS, 0.0, 0.01, "bad fraction", text)
    text = "871 of 871 arrivals said X-Degraded: cache (95 % CI 99.6 to 100 %), at least 95 %"
    yield Finding(
        "degradation",
        "cache degrades",
        "fault",
        Verdict.PASS,
        1.0,
        0.95,
        "degraded fraction",
        text,
    )
    text = "healthy for good 0.5 s after the heal (limit 5 s); 27 of 1196 bad or degraded"
    yield Finding("recovery", "recovers", "recovery", Verdict.PASS, 0.5, 5.0, "s", text)
    for alert, took in (("CacheDown", 1.94), ("DependencyDown", 3.24)):
        text = f"fired {took} s after the fault (limit 10 s) and resolved after the heal"
        yield Finding("alert", f"{alert} fires", "fault", Verdict.PASS, took, 10.0, "s", text)
    yield Finding(
        "alert",
        "others silent",
        "run",
        Verdict.PASS,
        0.0,
        0.0,
        "alerts",
        "no other alert fired",
    )
    seen = Verdict.PASS if story.witnessed else Verdict.INCONCLUSIVE
    text = "in force for 11.98 s; witness: connections refused 64"
    text = (
        text
        if story.witnessed
        else "confirmed but not witnessed: no connection was refused while it was in force"
    )
    yield Finding("witness", "refuse redis-cache", "fault", seen, 11.98, None, "s in force", text)
    text = "send lag p99 1.38 ms (limit 50 ms), 0 dropped, 0 unaccounted"
    yield Finding("honesty", "generator is sound", "run", Verdict.PASS, 1.38, 50.0, "ms", text)
