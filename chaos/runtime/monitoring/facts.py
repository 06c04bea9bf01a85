"""Whether the monitoring of a run was whole: the gate before it, the facts after it."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError
from chaos.runtime.monitoring.backfill import SCRAPE_INTERVAL_MS
from chaos.runtime.timescale import scale_duration_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.runtime.monitoring.clients import Prometheus, RuleState, Series

SHORT_WINDOW_MS = 300_000
"""The shortest window of the rules, 5 m."""

EVALUATION_INTERVAL_MS = 30_000
FULL_SHARE = 0.85
"""A short window is full when it holds this share of its scrapes."""

GATE_SHARE = 0.6
"""The same when a run begins: the last history and the first live scrape are a process start apart.

The gap has left the window one short window later, before any fault.
"""

JOBS = ("api", "exporter")
_GATE_STEP_S = 0.1
_ALERTS_FIRING = 'ALERTS{alertstate="firing"}'


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of the run in Unix seconds, with the intervals that hold at its time scale."""

    start: float
    end: float
    time_scale: float

    @property
    def scrape_s(self) -> float:
        return scale_duration_ms(SCRAPE_INTERVAL_MS, self.time_scale) / 1_000

    @property
    def first_full(self) -> float:
        """When the first short window that lies inside ends; the end when none does."""
        short_s = scale_duration_ms(SHORT_WINDOW_MS, self.time_scale) / 1_000
        return min(self.end, self.start + short_s)

    @property
    def evaluation_s(self) -> float:
        return scale_duration_ms(EVALUATION_INTERVAL_MS, self.time_scale) / 1_000


async def wait_until_full(
    prometheus: Prometheus, time_scale: float, *, within_s: float, jobs: Sequence[str] = JOBS
) -> float:
    """Wait until live scrapes fill the short window and every rule ran; return the seconds it took.

    A run that injects earlier reads rates that are too low and detects too late. Raises
    `HarnessError` that names what is missing when `within_s` is over.
    """
    begun = time.monotonic()
    missing = "no answer"
    while time.monotonic() - begun < within_s:
        try:
            missing = await _missing(prometheus, time_scale, jobs)
        except HarnessError as error:
            missing = str(error)
        if not missing:
            return time.monotonic() - begun
        await asyncio.sleep(_GATE_STEP_S)
    raise HarnessError(f"monitoring is not ready after {within_s:g} s: {missing}")


async def monitoring_facts(
    prometheus: Prometheus,
    *,
    anchor_wall: float,
    start_s: float,
    end_s: float,
    time_scale: float,
    jobs: Sequence[str] = JOBS,
) -> dict[str, Any]:
    """Return what `monitoring.json` holds about Prometheus, seconds counted from the anchor.

    Keys: `alive`, `problem`, `targets_up` {job: bool}, `scrapes_expected`, `scrapes_seen` and
    `scrapes_failed` {job: n}, `iterations_missed`, `evaluation_failures`, `rules_loaded` (alert
    names), `rules_unhealthy`, `notifications_failed`, `notifications_dropped`, `short_window_full`
    (one short window after `start_s`, the earliest that a fault may come), `alerts_history` (list
    of {name, labels, first_s, last_s}: Prometheus' own memory of what fired, the third witness).
    Never raises for a Prometheus that is dead: that is `alive: False`.
    """
    window = _Window(anchor_wall + start_s, anchor_wall + end_s, time_scale)
    try:
        return {"alive": True, "problem": "", **await _facts(prometheus, window, anchor_wall, jobs)}
    except HarnessError as error:
        return {"alive": False, "problem": str(error)}


async def _facts(
    prometheus: Prometheus, window: _Window, anchor_wall: float, jobs: Sequence[str]
) -> dict[str, Any]:
    rules = await prometheus.rules()
    targets = await prometheus.targets()
    span_ms = max(1, round((window.end - window.start) * 1_000))
    expected = math.floor(span_ms / 1_000 / window.scrape_s)
    seen: dict[str, int] = {}
    failed: dict[str, int] = {}
    for job in jobs:
        seen[job] = await _count(
            prometheus, f'count_over_time(up{{job="{job}"}}[{span_ms}ms])', window.end
        )
        up = await _count(prometheus, f'sum_over_time(up{{job="{job}"}}[{span_ms}ms])', window.end)
        failed[job] = seen[job] - up
    history = await prometheus.query_range(
        _ALERTS_FIRING, start=window.start, end=window.end, step_s=window.evaluation_s
    )
    return {
        "targets_up": targets,
        "scrapes_expected": dict.fromkeys(jobs, expected),
        "scrapes_seen": seen,
        "scrapes_failed": failed,
        "iterations_missed": await _growth(
            prometheus, "prometheus_rule_group_iterations_missed_total", window
        ),
        "evaluation_failures": await _growth(
            prometheus, "prometheus_rule_evaluation_failures_total", window
        ),
        "notifications_failed": await _growth(
            prometheus, "alertmanager_notifications_failed_total", window
        )
        + await _growth(prometheus, "prometheus_notifications_errors_total", window),
        "notifications_dropped": await _growth(
            prometheus, "prometheus_notifications_dropped_total", window
        ),
        "rules_loaded": sorted({r.name for r in rules if r.kind == "alerting"}),
        "rules_unhealthy": _unhealthy(rules),
        "short_window_full": not await _thin_windows(
            prometheus, window.time_scale, jobs, at=window.first_full
        ),
        "alerts_history": _history(history, anchor_wall, window.evaluation_s),
    }


async def _missing(prometheus: Prometheus, time_scale: float, jobs: Sequence[str]) -> str:
    """Return what a run still has to wait for, "" for nothing."""
    targets = await prometheus.targets()
    if away := [job for job in jobs if not targets.get(job)]:
        return f"no successful scrape yet of {', '.join(away)}"
    if thin := await _thin_windows(prometheus, time_scale, jobs, share=GATE_SHARE):
        return thin
    rules = await prometheus.rules()
    if not rules:
        return "no rule is loaded; check rule_files"
    if waiting := sorted({r.group for r in rules if not r.evaluated}):
        return f"rule groups not evaluated yet: {', '.join(waiting)}"
    if sick := _unhealthy(rules):
        return f"rules fail: {', '.join(sick)}"
    return ""


async def _thin_windows(
    prometheus: Prometheus,
    time_scale: float,
    jobs: Sequence[str],
    *,
    share: float = FULL_SHARE,
    at: float | None = None,
) -> str:
    """Return which job's short window holds too few scrapes, "" for none."""
    short_ms = scale_duration_ms(SHORT_WINDOW_MS, time_scale)
    whole = short_ms / scale_duration_ms(SCRAPE_INTERVAL_MS, time_scale)
    for job in jobs:
        seen = await _count(prometheus, f'count_over_time(up{{job="{job}"}}[{short_ms}ms])', at)
        if seen < share * whole:
            return f"job {job!r} has {seen} of {whole:.0f} scrapes in the short window"
    return ""


async def _count(prometheus: Prometheus, expr: str, at: float | None) -> int:
    return round(await prometheus.value(expr, at=at) or 0)


async def _growth(prometheus: Prometheus, counter: str, window: _Window) -> int:
    """Return how far a counter grew; not by `increase`, which guesses beyond its samples."""
    first = await _count(prometheus, counter, window.start)
    last = await _count(prometheus, counter, window.end)
    return last - first if last >= first else last


def _unhealthy(rules: Sequence[RuleState]) -> list[str]:
    return sorted(
        {
            f"{r.name} ({r.last_error or r.health})"
            for r in rules
            if r.evaluated and r.health != "ok"
        }
    )


def _history(series: Sequence[Series], anchor_wall: float, step_s: float) -> list[dict[str, Any]]:
    """Fold each series into the stretches in which it had a point at every step."""
    stretches: dict[tuple[str, str], list[list[float]]] = {}
    for one in series:
        labels = {
            k: v
            for k, v in sorted(one.labels.items())
            if k not in {"__name__", "alertname", "alertstate"}
        }
        found = stretches.setdefault((one.labels["alertname"], json.dumps(labels)), [])
        for stamp, _ in one.points:
            if found and stamp - found[-1][1] < 1.5 * step_s:
                found[-1][1] = stamp
            else:
                found.append([stamp, stamp])
    return [
        {
            "name": name,
            "labels": json.loads(labels),
            "first_s": round(first - anchor_wall, 3),
            "last_s": round(last - anchor_wall, 3),
        }
        for (name, labels), found in sorted(stretches.items())
        for first, last in found
    ]
