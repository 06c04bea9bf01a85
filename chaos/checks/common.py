"""What several checks share: windows of time, latencies, fractions against limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chaos.model.evidence import BAD_CLASSES
from chaos.model.slo import Interval, wilson
from chaos.model.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from chaos.model.evidence import Evidence
    from chaos.model.run import InjectionRecord


def injections_of(evidence: Evidence, phase: str) -> tuple[InjectionRecord, ...]:
    """Return the injections that belong to `phase`; of every phase for "run"."""
    return tuple(i for i in evidence.injections if phase in {i.phase, "run"})


def in_force(evidence: Evidence, phase: str) -> tuple[float, float]:
    """Return the part of `phase` in which all its confirmed faults were in force; the whole phase without faults."""
    start, end = evidence.plan.window(phase)
    for injection in injections_of(evidence, phase) if phase != "run" else ():
        if injection.confirmed_s is not None:
            start = max(start, injection.confirmed_s)
        if injection.healed_s is not None:
            end = min(end, injection.healed_s)
    return start, max(start, end)


def last_heal_s(evidence: Evidence) -> float | None:
    """Return when the last fault was healed, or None when there was none or one was never healed."""
    healed = [i.healed_s for i in evidence.injections]
    if not healed or any(h is None for h in healed):
        return None
    return max(h for h in healed if h is not None)


def select(
    evidence: Evidence, window: tuple[float, float], routes: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Return the arrivals due inside `window` (start, end), on `routes` when any are named."""
    rows = evidence.arrivals
    rows = rows[(rows["due_s"] >= window[0]) & (rows["due_s"] < window[1])]
    return rows[rows["route"].isin(routes)] if routes else rows


def latency_ms(rows: pd.DataFrame) -> np.ndarray:
    """Return milliseconds from the intended arrival to the end of the answer; infinite where none came."""
    values = (rows["done_s"].astype(float) - rows["due_s"].astype(float)).to_numpy() * 1_000
    unanswered = rows["class"].isin(("timeout", "censored", "dropped")).to_numpy()
    return np.where(unanswered | np.isnan(values), np.inf, values)


def bad_mask(rows: pd.DataFrame) -> np.ndarray:
    """Return which arrivals were not answered well: error, timeout, censored, dropped."""
    return rows["class"].isin(BAD_CLASSES).to_numpy()


def at_most(count: int, total: int, limit: float) -> tuple[Verdict, Interval]:
    """Judge that a fraction is at most `limit`: PASS or FAIL only when its whole interval is on one side."""
    interval = wilson(count, total)
    return (one_side(interval, limit) if total else Verdict.INCONCLUSIVE), interval


def one_side(interval: Interval, limit: float) -> Verdict:
    """Judge that what `interval` estimates is at most `limit`; INCONCLUSIVE when the limit lies inside it."""
    if interval.high <= limit:
        return Verdict.PASS
    return Verdict.FAIL if interval.low > limit else Verdict.INCONCLUSIVE


def percent(fraction: float) -> str:
    """Write a fraction for people: 0.00123 -> "0.123 %"."""
    return f"{fraction * 100:.3g} %"


def interval_text(interval: Interval) -> str:
    """Write an interval for people."""
    return f"95 % CI {percent(interval.low)} to {percent(interval.high)}"
