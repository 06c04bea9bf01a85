"""SLOs judged on fractions of arrivals with a confidence interval, and latency against a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chaos.checks.common import (
    at_most,
    bad_mask,
    in_force,
    interval_text,
    latency_ms,
    one_side,
    percent,
    select,
)
from chaos.checks.quantile import MIN_BLOCKS, quantile_ms, ratio_interval
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from chaos.model.evidence import Evidence
    from chaos.model.expectations import LatencyRatio, SloBreaks, SloHolds
    from chaos.model.scenario import System
    from chaos.model.slo import Slo

MIN_FOR_QUANTILE = 200
"""Below this many arrivals a p95 rests on fewer than ten of them."""


def slo_holds(expectation: SloHolds, evidence: Evidence, system: System) -> Finding:
    """Judge that the bad fraction is under the SLO's limit, upper confidence bound included."""
    slo = system.slo(expectation.slo)
    rows = select(evidence, evidence.plan.window(expectation.phase), expectation.routes)
    bad = int(_bad(slo, rows).sum())
    verdict, interval = at_most(bad, len(rows), slo.max_bad)
    return Finding(
        kind="slo",
        name=f"{slo.name} holds{_on(expectation.routes)}",
        phase=expectation.phase,
        verdict=verdict,
        measured=interval.estimate if len(rows) else None,
        limit=slo.max_bad,
        unit="bad fraction",
        sentence=_sentence(slo, rows, bad)
        + f" ({interval_text(interval)}), limit {percent(slo.max_bad)}",
    )


def slo_breaks(expectation: SloBreaks, evidence: Evidence, system: System) -> Finding:
    """Judge that the bad fraction is over the SLO's limit, lower confidence bound included."""
    slo = system.slo(expectation.slo)
    rows = select(evidence, in_force(evidence, expectation.phase), expectation.routes)
    bad = int(_bad(slo, rows).sum())
    verdict, interval = at_most(bad, len(rows), slo.max_bad)
    turned = {Verdict.PASS: Verdict.FAIL, Verdict.FAIL: Verdict.PASS}.get(verdict, verdict)
    return Finding(
        kind="slo",
        name=f"{slo.name} breaks as expected{_on(expectation.routes)}",
        phase=expectation.phase,
        verdict=turned,
        measured=interval.estimate if len(rows) else None,
        limit=slo.max_bad,
        unit="bad fraction",
        sentence=_sentence(slo, rows, bad)
        + f" ({interval_text(interval)}), expected over {percent(slo.max_bad)}",
    )


def latency_ratio(expectation: LatencyRatio, evidence: Evidence, _system: System) -> Finding:
    """Judge a latency quantile of the fault phase against the same quantile of the baseline in the same run."""
    window = in_force(evidence, expectation.phase)
    if expectation.after_breaker:
        opened = _opened_s(expectation.after_breaker, evidence, window)
        if opened is None:
            text = f"breaker {expectation.after_breaker} was never seen to open"
            return _ratio(expectation, Verdict.INCONCLUSIVE, None, text)
        window = (opened, window[1])
    baseline = evidence.plan.window(expectation.baseline)
    now = _timed(select(evidence, window, expectation.routes))
    base = _timed(select(evidence, baseline, expectation.routes))
    counts = len(now[1]), len(base[1])
    if min(counts) < MIN_FOR_QUANTILE:
        text = (
            f"{counts[0]} and {counts[1]} arrivals; expected {MIN_FOR_QUANTILE} each for a quantile"
        )
        return _ratio(expectation, Verdict.INCONCLUSIVE, None, text)
    base_ms = quantile_ms(base[1], expectation.quantile)
    if not np.isfinite(base_ms) or base_ms <= 0:
        text = f"the baseline's own quantile is {base_ms} ms, so there is nothing to compare with"
        return _ratio(expectation, Verdict.INCONCLUSIVE, None, text)
    interval = ratio_interval(now, base, expectation.quantile)
    if interval is None:
        text = f"less than {MIN_BLOCKS} s of arrivals on a side, so the noise is not known"
        return _ratio(expectation, Verdict.INCONCLUSIVE, None, text)
    text = (
        f"p{expectation.quantile * 100:.0f} of {counts[0]} arrivals "
        f"{quantile_ms(now[1], expectation.quantile):.1f} ms against {base_ms:.1f} ms in "
        f"{expectation.baseline}: {interval.estimate:.2f} times "
        f"(95 % CI {interval.low:.2f} to {interval.high:.2f}), limit {expectation.max_ratio:g}"
    )
    measured = interval.estimate if np.isfinite(interval.estimate) else None
    verdict = one_side(interval, expectation.max_ratio)
    if verdict is Verdict.FAIL and expectation.control:
        verdict, more = _against_control(expectation, now, evidence)
        text += more
    return _ratio(expectation, verdict, measured, text)


def _against_control(
    expectation: LatencyRatio, now: tuple[np.ndarray, np.ndarray], evidence: Evidence
) -> tuple[Verdict, str]:
    """Judge again against the calm end of the control phase: a machine that became slow is slow there too."""
    start, end = evidence.plan.window(expectation.control)
    window = (start + (end - start) / 3, end)
    control = _timed(select(evidence, window, expectation.routes))
    if len(control[1]) < MIN_FOR_QUANTILE:
        return Verdict.FAIL, ""
    interval = ratio_interval(now, control, expectation.quantile)
    if interval is None or interval.low > expectation.max_ratio:
        return Verdict.FAIL, ""
    return Verdict.INCONCLUSIVE, (
        f"; but {interval.estimate:.2f} times what {expectation.control} took without a fault "
        f"(95 % CI {interval.low:.2f} to {interval.high:.2f}), so the machine itself became slower"
    )


def _timed(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["due_s"].to_numpy(dtype=float), latency_ms(rows)


def _opened_s(breaker: str, evidence: Evidence, window: tuple[float, float]) -> float | None:
    times = (
        event.t_s
        for event in evidence.log_events
        if event.event == "breaker_opened"
        and event.fields.get("breaker") == breaker
        and window[0] <= event.t_s <= window[1]
    )
    return min(times, default=None)


def _ratio(
    expectation: LatencyRatio, verdict: Verdict, measured: float | None, sentence: str
) -> Finding:
    name = f"p{expectation.quantile * 100:.0f} against {expectation.baseline}"
    limit = expectation.max_ratio
    return Finding("slo", name, expectation.phase, verdict, measured, limit, "ratio", sentence)


def _bad(slo: Slo, rows: pd.DataFrame) -> np.ndarray:
    if slo.kind == "availability":
        return bad_mask(rows)
    return np.asarray(bad_mask(rows) | (latency_ms(rows) > slo.threshold_ms))


def _sentence(slo: Slo, rows: pd.DataFrame, bad: int) -> str:
    if not len(rows):
        return f"{slo.name}: no arrivals, so nothing was proved"
    what = (
        "bad" if slo.kind == "availability" else f"not answered well within {slo.threshold_ms:g} ms"
    )
    p95 = float(np.quantile(latency_ms(rows), 0.95, method="higher"))
    tail = f"; p95 {p95:.1f} ms" if np.isfinite(p95) else "; p95 beyond the client's limit"
    return f"{bad} of {len(rows)} arrivals {what}{tail if slo.kind == 'latency' else ''}"


def _on(routes: tuple[str, ...]) -> str:
    return f" on {', '.join(routes)}" if routes else ""
