"""The aggregates that a report shows, from the arrivals of the evidence.

Times are seconds, latencies milliseconds from the intended arrival. An arrival that got no answer
is infinitely slow, so it pushes the percentiles up instead of vanishing from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from chaos.model.evidence import ARRIVAL_CLASSES, BAD_CLASSES
from chaos.model.scenario import WARM_UP
from chaos.model.slo import Interval, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chaos.model.evidence import Evidence
    from chaos.model.run import Plan

BIN_S = 0.5
MAX_BINS = 200
QUANTILES = (0.5, 0.95, 0.99)
UNANSWERED = ("timeout", "censored", "dropped")
EXEMPLARS = 8


@dataclass(frozen=True, slots=True)
class Bins:
    """Arrivals by due time: counts of each class and latency quantiles.

    A quantile is NaN without arrivals and infinite where it falls on an unanswered one.
    """

    width_s: float
    start_s: NDArray[np.float64]
    counts: dict[str, NDArray[np.int64]]
    quantiles_ms: dict[float, NDArray[np.float64]]

    @property
    def total(self) -> NDArray[np.int64]:
        """Arrivals in each bin."""
        return np.asarray(sum(self.counts.values()))


@dataclass(frozen=True, slots=True)
class Mix:
    """How the arrivals of one phase, or of one route in it, were answered."""

    name: str
    total: int
    counts: dict[str, int]
    features: str
    p50_ms: float
    p95_ms: float

    @property
    def bad(self) -> int:
        """Arrivals that were not answered well."""
        return sum(self.counts[c] for c in BAD_CLASSES)

    def share(self, *classes: str) -> float:
        """Return the fraction of arrivals in `classes`; 0 without arrivals."""
        return sum(self.counts[c] for c in classes) / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One arrival worth looking at."""

    due_s: float
    route: str
    status: int
    outcome: str
    degraded: str
    latency_ms: float
    correlation_id: str
    phase: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Every aggregate of one report."""

    bins: Bins
    overall: Mix
    bad: Interval
    phases: tuple[tuple[Mix, tuple[Mix, ...]], ...]
    slowest: tuple[Exemplar, ...]
    failed: tuple[Exemplar, ...]
    from_send_p95_ms: float
    from_intended_p95_ms: float
    unaccounted: int | None


def figures(evidence: Evidence) -> Figures:
    """Aggregate the arrivals of a run; with none, everything is zero or NaN and nothing raises."""
    rows = _prepared(evidence.arrivals)
    judged = _judged(rows, evidence.plan)
    overall = _mix("run", judged)
    answered = judged[np.isfinite(judged["latency_ms"].to_numpy())]
    from_send = (answered["done_s"] - answered["sent_s"]).to_numpy() * 1_000
    failures = rows[rows["class"].isin(BAD_CLASSES)]
    slow = rows[rows["class"].isin(("ok", "degraded"))].nlargest(EXEMPLARS, "latency_ms")
    intended = evidence.plan.intended
    return Figures(
        bins=_bins(rows, evidence.plan),
        overall=overall,
        bad=wilson(overall.bad, overall.total),
        phases=tuple(_phases(rows, evidence.plan)),
        slowest=_exemplars(slow),
        failed=_exemplars(_spread(failures)),
        from_send_p95_ms=quantile(from_send, 0.95),
        from_intended_p95_ms=quantile(answered["latency_ms"].to_numpy(), 0.95),
        unaccounted=intended - rows["n"].nunique() if intended else None,
    )


def quantile(values: NDArray[np.float64], q: float) -> float:
    """Return the nearest-rank quantile, NaN without values.

    It never interpolates, so infinite values are sound.
    """
    if not len(values):
        return float("nan")
    return float(np.quantile(values, q, method="higher"))


def _prepared(arrivals: pd.DataFrame) -> pd.DataFrame:
    rows = arrivals.copy()
    for column in ("due_s", "sent_s", "done_s", "status"):
        rows[column] = pd.to_numeric(rows[column], errors="coerce").astype("float64")
    for column in ("class", "degraded", "route", "phase", "correlation_id", "journey"):
        rows[column] = rows[column].fillna("").astype(str)
    latency = ((rows["done_s"] - rows["due_s"]) * 1_000).to_numpy()
    silent = rows["class"].isin(UNANSWERED).to_numpy() | np.isnan(latency)
    rows["latency_ms"] = np.where(silent, np.inf, latency)
    return rows


def _judged(rows: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    if not plan.phases:
        return rows
    start, end = plan.window("run")
    return rows[(rows["due_s"] >= start) & (rows["due_s"] < end)]


def _bins(rows: pd.DataFrame, plan: Plan) -> Bins:
    due = rows["due_s"].to_numpy()
    end = max(
        [p.end_s for p in plan.phases] + ([float(np.nanmax(due))] if len(due) else []) + [BIN_S]
    )
    width = BIN_S
    while end / width > MAX_BINS:
        width *= 2
    count = int(np.ceil(end / width - 1e-9))
    place = np.clip(np.floor(np.nan_to_num(due) / width).astype(np.int64), 0, count - 1)
    kinds = rows["class"].to_numpy()
    counts = {
        c: np.bincount(place[kinds == c], minlength=count).astype(np.int64) for c in ARRIVAL_CLASSES
    }
    return Bins(
        width,
        np.arange(count, dtype=np.float64) * width,
        counts,
        _quantiles(place, rows["latency_ms"].to_numpy(), count),
    )


def _quantiles(
    place: NDArray[np.int64], latency: NDArray[np.float64], count: int
) -> dict[float, NDArray[np.float64]]:
    """Nearest-rank quantiles of every bin in one sort."""
    ordered = latency[np.lexsort((latency, place))]
    sizes = np.bincount(place, minlength=count)
    first = np.cumsum(sizes) - sizes
    out = {}
    for q in QUANTILES:
        values = np.full(count, np.nan)
        some = sizes > 0
        rank = np.minimum(np.ceil(q * (sizes[some] - 1)).astype(np.int64), sizes[some] - 1)
        values[some] = ordered[first[some] + rank]
        out[q] = values
    return out


def _mix(name: str, rows: pd.DataFrame) -> Mix:
    counts = rows["class"].value_counts()
    said: dict[str, int] = {}
    for features, times in rows.loc[rows["degraded"] != "", "degraded"].value_counts().items():
        for feature in str(features).split(","):
            said[feature.strip()] = said.get(feature.strip(), 0) + int(times)
    latency = rows["latency_ms"].to_numpy()
    return Mix(
        name=name,
        total=len(rows),
        counts={c: int(counts.get(c, 0)) for c in ARRIVAL_CLASSES},
        features=", ".join(f"{feature} {times:,}" for feature, times in sorted(said.items())),
        p50_ms=quantile(latency, 0.5),
        p95_ms=quantile(latency, 0.95),
    )


def _phases(rows: pd.DataFrame, plan: Plan) -> list[tuple[Mix, tuple[Mix, ...]]]:
    out = []
    for phase in plan.phases:
        part = rows[(rows["due_s"] >= phase.start_s) & (rows["due_s"] < phase.end_s)]
        judged = part.groupby("route", sort=True) if phase.name != WARM_UP else ()
        routes = tuple(_mix(str(route), of) for route, of in judged)
        out.append((_mix(phase.name, part), routes))
    return out


def _spread(failures: pd.DataFrame) -> pd.DataFrame:
    """Choose failures that differ: the first ones of every class, route and phase, in turn."""
    turn = failures.groupby(["class", "route", "phase"]).cumcount()
    return failures.assign(turn=turn).sort_values(["turn", "due_s"], kind="stable").head(EXEMPLARS)


def _exemplars(rows: pd.DataFrame) -> tuple[Exemplar, ...]:
    return tuple(
        Exemplar(
            due_s=float(row["due_s"]),
            route=row["route"] or row["journey"],
            status=0 if np.isnan(row["status"]) else int(row["status"]),
            outcome=row["class"],
            degraded=row["degraded"],
            latency_ms=float(row["latency_ms"]),
            correlation_id=row["correlation_id"],
            phase=row["phase"],
        )
        for row in rows.to_dict("records")
    )
