"""How long after the heal the system was healthy again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chaos.checks.common import bad_mask, last_heal_s, select
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence
    from chaos.model.expectations import RecoversWithin
    from chaos.model.scenario import System

SLICE_S = 0.5


def recovers_within(expectation: RecoversWithin, evidence: Evidence, _system: System) -> Finding:
    """Judge the end of the last half second after the heal that still had too many bad arrivals."""
    healed = last_heal_s(evidence)
    _, end = evidence.plan.window(expectation.phase)
    unhealthy = "bad or degraded" if expectation.degraded_counts else "bad"
    if healed is None:
        text = "no fault was healed, so there is nothing to recover from"
        return _finding(expectation, Verdict.INCONCLUSIVE, None, text)
    if end - healed < expectation.within_s + 2 * SLICE_S:
        text = f"only {end - healed:.1f} s were watched after the heal; expected {expectation.within_s + 1:g} s"
        return _finding(expectation, Verdict.INCONCLUSIVE, None, text)
    rows = select(evidence, (healed, end))
    bad = bad_mask(rows)
    if expectation.degraded_counts:
        bad = bad | (rows["class"] == "degraded").to_numpy()
    slices = np.floor((rows["due_s"].to_numpy(dtype=float) - healed) / SLICE_S).astype(int)
    count = int(np.ceil((end - healed) / SLICE_S))
    total = (
        np.bincount(slices, minlength=count)[:count] if len(rows) else np.zeros(count, dtype=int)
    )
    wrong = (
        np.bincount(slices, weights=bad, minlength=count)[:count] if len(rows) else np.zeros(count)
    )
    full = total[: max(1, count - 1)]
    if not full.all():
        text = f"{int((full == 0).sum())} half seconds after the heal had no arrival, so recovery was not seen"
        return _finding(expectation, Verdict.INCONCLUSIVE, None, text)
    late = np.flatnonzero(wrong / np.maximum(total, 1) > expectation.max_bad_share)
    took = float((late[-1] + 1) * SLICE_S) if len(late) else 0.0
    text = (
        f"healthy for good {took:.1f} s after the heal (limit {expectation.within_s:g} s); "
        f"{int(bad.sum())} of {len(rows)} arrivals after it were {unhealthy}"
    )
    verdict = Verdict.PASS if took <= expectation.within_s else Verdict.FAIL
    return _finding(expectation, verdict, took, text)


def _finding(
    expectation: RecoversWithin, verdict: Verdict, measured: float | None, sentence: str
) -> Finding:
    return Finding(
        kind="recovery",
        name="recovers",
        phase=expectation.phase,
        verdict=verdict,
        measured=measured,
        limit=expectation.within_s,
        unit="s",
        sentence=sentence,
    )
