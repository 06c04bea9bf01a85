"""Whether the process itself stayed responsive: probes answered in time, and quantiles of its own histograms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np

from chaos.checks.common import interval_text, percent
from chaos.model.slo import wilson
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from chaos.model.evidence import Evidence
    from chaos.model.expectations import MetricQuantileAtMost, ProbeAnswers
    from chaos.model.scenario import System

PROBE_LATENCY = "probe_latency_ms"
"""One sample a probe, at the time it was sent: to the answer or until it was given up; infinite for an answer that
was no 200, or none. Label: path."""
PROBE_OWN_LAG = "probe_own_lag_ms"
"""Beside each: how much of that time the prober's own loop may have been late."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """What a histogram observed in a stretch of time: how many at most each bound, and how many in all."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float

    def surely_within(self, limit: float) -> float:
        """Count what lies in buckets that end at or below `limit`."""
        return max(
            (c for b, c in zip(self.bounds, self.counts, strict=True) if b <= limit), default=0
        )

    def surely_over(self, limit: float) -> float:
        """Count what lies in buckets that begin at or above `limit`."""
        within = [c for b, c in zip(self.bounds, self.counts, strict=True) if b >= limit]
        return self.total - within[0] if within else 0.0

    def bound_of(self, quantile: float) -> float:
        """Return the smallest bound that at least `quantile` of all do not exceed; infinite beyond the last."""
        wanted = quantile * self.total
        return next((b for b, c in zip(self.bounds, self.counts, strict=True) if c >= wanted), inf)


def probe_answers(expectation: ProbeAnswers, evidence: Evidence, _system: System) -> Finding:
    """Judge that every probe of the phase was answered in time.

    The prober shares the machine: the part of a latency in which its own loop was late is nobody's proof. A probe
    that may have been in time without that lag leaves the claim open; one that was late even so breaks it.
    """
    start, end = evidence.plan.window(expectation.phase)
    took = _values(evidence.series(PROBE_LATENCY, path=expectation.path), start, end)
    lag = _values(evidence.series(PROBE_OWN_LAG, path=expectation.path), start, end)
    own = np.array([lag.get(t_s, 0.0) for t_s in took])
    values = np.array(list(took.values()))
    over = values > expectation.within_ms
    late = int((over & (values - own > expectation.within_ms)).sum())
    unclear = int(over.sum()) - late
    enough = len(values) >= expectation.min_probes
    verdict = Verdict.PASS if enough and not unclear else Verdict.INCONCLUSIVE
    if late:
        verdict = Verdict.FAIL
    worst = float(values.max()) if len(values) else None
    text = f"{late} of {len(values)} probes were not answered within {expectation.within_ms:g} ms"
    if unclear:
        text += f"; {unclear} more were late by what the prober's own loop was late"
    if not enough:
        text += f"; expected at least {expectation.min_probes} probes"
    if worst is not None:
        text += f"; the slowest took {worst:.1f} ms" if isfinite(worst) else "; one got no answer"
    return Finding(
        kind="liveness",
        name=f"{expectation.path} always answers",
        phase=expectation.phase,
        verdict=verdict,
        measured=worst if worst is not None and isfinite(worst) else None,
        limit=expectation.within_ms,
        unit="ms",
        sentence=text,
    )


def metric_quantile_at_most(
    expectation: MetricQuantileAtMost, evidence: Evidence, _system: System
) -> Finding:
    """Judge a quantile of a histogram by the share of observations over the limit, with its interval.

    The quantile is at most the limit when no more than 1 - quantile of the observations are over it, so few
    observations decide nothing: 381 without one over it are the least that show a p99.
    """
    buckets = buckets_during(evidence, expectation.family, expectation.phase)
    name = f"p{expectation.quantile * 100:g} of {expectation.family}"
    if isinstance(buckets, str):
        return _quantile(expectation, name, Verdict.INCONCLUSIVE, None, buckets)
    allowed, total = 1 - expectation.quantile, round(buckets.total)
    perhaps_over = wilson(round(buckets.total - buckets.surely_within(expectation.limit)), total)
    surely_over = wilson(round(buckets.surely_over(expectation.limit)), total)
    if perhaps_over.high <= allowed:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if surely_over.low > allowed else Verdict.INCONCLUSIVE
    bound = buckets.bound_of(expectation.quantile)
    text = (
        f"{percent(perhaps_over.estimate)} of {total} observations over {expectation.limit:g} "
        f"({interval_text(perhaps_over)}), allowed {percent(allowed)}; the quantile is "
        + (f"at most {bound:g}" if isfinite(bound) else f"over {buckets.bounds[-1]:g}")
    )
    return _quantile(expectation, name, verdict, bound if isfinite(bound) else None, text)


def buckets_during(evidence: Evidence, family: str, phase: str) -> Buckets | str:
    """Return what `family` observed during `phase`, all its children together, or why that is not known.

    Counted from the last sample before the phase where there is one, so that its first moment is not lost.
    """
    start, end = evidence.plan.window(phase)
    rows = evidence.series(f"{family}_bucket")
    rows = rows[rows["t_s"] < end]
    if not (rows["t_s"] >= start).any():
        return f"no sample of {family} in this phase, so nothing was measured"
    by_bound: dict[float, float] = {}
    for labels, series in rows.groupby("labels"):
        grown = _grown(series, start)
        if grown is None:
            return f"{family} was sampled less than twice, so what it observed is not known"
        if grown < 0:
            return f"{family} went back to zero: the process was started anew"
        bound = float(json.loads(str(labels)).get("le", "nan"))
        by_bound[bound] = by_bound.get(bound, 0.0) + grown
    total = by_bound.pop(inf, 0.0)
    if not total or not by_bound:
        return f"{family} observed nothing in this phase"
    bounds = tuple(sorted(by_bound))
    return Buckets(bounds, tuple(by_bound[b] for b in bounds), total)


def _grown(series: pd.DataFrame, start: float) -> float | None:
    """Return by how much one counter grew; below 0 when it ever fell, None when one sample is all there is."""
    before = series[series["t_s"] < start].tail(1)
    values = np.concatenate([before["value"], series[series["t_s"] >= start]["value"]])
    if len(values) < 2:  # noqa: PLR2004 (a difference needs two)
        return None
    return -1.0 if (np.diff(values) < 0).any() else float(values[-1] - values[0])


def _values(rows: pd.DataFrame, start: float, end: float) -> dict[float, float]:
    rows = rows[(rows["t_s"] >= start) & (rows["t_s"] < end)]
    return dict(zip(rows["t_s"].astype(float), rows["value"].astype(float), strict=True))


def _quantile(
    expectation: MetricQuantileAtMost,
    name: str,
    verdict: Verdict,
    measured: float | None,
    sentence: str,
) -> Finding:
    unit = "s" if expectation.family.endswith("_seconds") else ""
    phase, limit = expectation.phase, expectation.limit
    return Finding("liveness", name, phase, verdict, measured, limit, unit, sentence)
