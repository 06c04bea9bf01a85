"""Whether features degraded as promised: announced, counted as up, and gone when healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.checks.common import (
    at_most,
    bad_mask,
    in_force,
    injections_of,
    interval_text,
    percent,
    select,
)
from chaos.model.slo import wilson
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence
    from chaos.model.expectations import BreakerOpens, Degrades, NotDegraded
    from chaos.model.scenario import System


def degrades(expectation: Degrades, evidence: Evidence, _system: System) -> Finding:
    """Judge that arrivals said `X-Degraded: feature` instead of failing while the fault was in force."""
    rows = select(evidence, in_force(evidence, expectation.phase), expectation.routes)
    if expectation.journeys:
        rows = rows[rows["journey"].isin(expectation.journeys)]
    total = len(rows)
    said = int(
        rows["degraded"].astype(str).str.split(",").map(lambda x: expectation.feature in x).sum()
    )
    bad = int(bad_mask(rows).sum())
    share = wilson(said, total)
    bad_verdict, _ = at_most(bad, total, expectation.max_bad_share)
    if total == 0:
        verdict = Verdict.INCONCLUSIVE
    elif share.high < expectation.min_share or bad_verdict is Verdict.FAIL:
        verdict = Verdict.FAIL
    elif share.low >= expectation.min_share and bad_verdict is Verdict.PASS:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    return Finding(
        kind="degradation",
        name=f"{expectation.feature} degrades",
        phase=expectation.phase,
        verdict=verdict,
        measured=share.estimate if total else None,
        limit=expectation.min_share,
        unit="degraded fraction",
        sentence=f"{said} of {total} arrivals on {len(expectation.routes)} routes said X-Degraded: "
        f"{expectation.feature} ({interval_text(share)}), expected at least {percent(expectation.min_share)}; "
        f"{bad} failed, allowed {percent(expectation.max_bad_share)}",
    )


def not_degraded(expectation: NotDegraded, evidence: Evidence, _system: System) -> Finding:
    """Judge that a phase was answered healthy, not merely up."""
    rows = select(evidence, evidence.plan.window(expectation.phase))
    count = int((rows["class"] == "degraded").sum())
    verdict, interval = at_most(count, len(rows), expectation.max_share)
    return Finding(
        kind="degradation",
        name="nothing is degraded",
        phase=expectation.phase,
        verdict=verdict,
        measured=interval.estimate if len(rows) else None,
        limit=expectation.max_share,
        unit="degraded fraction",
        sentence=f"{count} of {len(rows)} arrivals degraded ({interval_text(interval)}), "
        f"limit {percent(expectation.max_share)}",
    )


def breaker_opens(expectation: BreakerOpens, evidence: Evidence, _system: System) -> Finding:
    """Judge how soon a breaker opened after the first call met the fault, and that it closed again."""
    name = f"breaker {expectation.breaker} opens"
    faults = injections_of(evidence, expectation.phase)
    events = [
        e
        for e in evidence.log_events
        if e.fields.get("breaker") == expectation.breaker
        and expectation.component in {"", e.component}
    ]
    asked = min((i.asked_s for i in faults), default=None)
    opened = [
        e.t_s
        for e in events
        if e.event == "breaker_opened" and asked is not None and e.t_s >= asked
    ]
    rows = evidence.arrivals
    met = rows[rows["done_s"].isna() | (rows["done_s"] >= (asked or 0.0))]["sent_s"].dropna()
    if asked is None or met.empty:
        text = "no fault was asked or no call met it, so the breaker had no reason to open"
        return Finding(
            "degradation",
            name,
            expectation.phase,
            Verdict.INCONCLUSIVE,
            None,
            expectation.within_s,
            "s",
            text,
        )
    first = max(asked, float(met.min()))
    if not opened:
        text = f"the breaker did not open within the phase; first call that met the fault at {first:.2f} s"
        return Finding(
            "degradation",
            name,
            expectation.phase,
            Verdict.FAIL,
            None,
            expectation.within_s,
            "s",
            text,
        )
    took = max(0.0, opened[0] - first)
    closed = events[-1].event == "breaker_closed"
    good = took <= expectation.within_s and closed
    return Finding(
        kind="degradation",
        name=name,
        phase=expectation.phase,
        verdict=Verdict.PASS if good else Verdict.FAIL,
        measured=took,
        limit=expectation.within_s,
        unit="s",
        sentence=f"opened {took:.2f} s after the first call met the fault (limit {expectation.within_s:g} s) and "
        + ("closed again" if closed else "was not closed at the end"),
    )
