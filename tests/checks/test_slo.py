"""Claims about SLO checks."""

from __future__ import annotations

import pytest

from chaos.checks.slo import latency_ratio, slo_breaks, slo_holds
from chaos.model.expectations import LatencyRatio, SloBreaks, SloHolds
from chaos.model.slo import wilson
from chaos.model.verdict import Verdict
from tests.checks.evidence import ROUTE, SYSTEM, arrivals, evidence


def test_availability_holds_when_the_upper_bound_is_inside_the_limit() -> None:
    """8,000 arrivals without a bad one prove 99.9 %, degraded ones counted as up."""
    finding = slo_holds(SloHolds("availability"), evidence(), SYSTEM)

    assert finding.verdict is Verdict.PASS
    assert finding.measured == 0


@pytest.mark.parametrize("kind", ["error", "timeout", "censored", "dropped"])
def test_every_bad_class_breaks_availability(kind: str) -> None:
    """Errors, timeouts, censored and dropped arrivals all count as bad."""
    rows = arrivals(classes={"fault": kind})
    finding = slo_holds(SloHolds("availability"), evidence(arrivals=rows), SYSTEM)

    assert finding.verdict is Verdict.FAIL


def test_too_few_arrivals_decide_nothing() -> None:
    """400 good arrivals cannot show 99.9 %: INCONCLUSIVE, not PASS."""
    finding = slo_holds(SloHolds("availability"), evidence(arrivals=arrivals(10)), SYSTEM)

    assert finding.verdict is Verdict.INCONCLUSIVE


def test_no_arrivals_are_never_a_pass() -> None:
    """Zero traffic makes every SLO claim INCONCLUSIVE."""
    nothing = evidence(arrivals=arrivals().iloc[:0])

    assert slo_holds(SloHolds("availability"), nothing, SYSTEM).verdict is Verdict.INCONCLUSIVE
    assert (
        slo_breaks(SloBreaks("availability", "fault"), nothing, SYSTEM).verdict
        is Verdict.INCONCLUSIVE
    )


def test_latency_counts_from_the_intended_arrival_and_unanswered_is_slow() -> None:
    """6 % slower than the threshold, or unanswered, breaks p95."""
    slow = evidence(arrivals=arrivals(latency_ms={"fault": 700}))
    silent = evidence(arrivals=arrivals(classes={"fault": "timeout"}))

    assert slo_holds(SloHolds("latency", "fault"), slow, SYSTEM).verdict is Verdict.FAIL
    assert slo_holds(SloHolds("latency", "fault"), silent, SYSTEM).verdict is Verdict.FAIL
    assert slo_holds(SloHolds("latency", "baseline"), slow, SYSTEM).verdict is Verdict.PASS


def test_an_expected_break_passes_only_when_it_is_proved() -> None:
    """`SloBreaks` is PASS for a broken SLO and FAIL for one that held."""
    broken = evidence(arrivals=arrivals(classes={"fault": "error"}))

    assert slo_breaks(SloBreaks("availability", "fault"), broken, SYSTEM).verdict is Verdict.PASS
    assert (
        slo_breaks(SloBreaks("availability", "fault"), evidence(), SYSTEM).verdict is Verdict.FAIL
    )


def test_latency_ratio_compares_with_the_baseline_of_the_same_run() -> None:
    """Twice the baseline's p95 breaks a limit of 1.5; only arrivals after the breaker opened count."""
    claim = LatencyRatio("fault", "baseline", (ROUTE,), 1.5, after_breaker="cache")
    same = latency_ratio(claim, evidence(), SYSTEM)
    twice = latency_ratio(claim, evidence(arrivals=arrivals(latency_ms={"fault": 10})), SYSTEM)
    unopened = latency_ratio(claim, evidence(log_events=()), SYSTEM)

    assert same.verdict is Verdict.PASS
    assert twice.verdict is Verdict.FAIL
    assert twice.measured == pytest.approx(2, rel=0.01)
    assert unopened.verdict is Verdict.INCONCLUSIVE


def test_wilson_needs_3838_good_arrivals_for_99_9_percent() -> None:
    """The bound that the load's rate is planned by."""
    assert wilson(0, 3838).high <= 0.001 < wilson(0, 3837).high
    assert wilson(0, 0).high == 1.0


def test_a_machine_that_became_slow_is_no_failure_of_the_system() -> None:
    """Twice the baseline in the fault is a FAIL when the phase after it is fast again, and undecided when it is not."""
    claim = LatencyRatio("fault", "baseline", (ROUTE,), 1.5, control="recovery")
    slow = arrivals(latency_ms={"fault": 10})
    drifted = arrivals(latency_ms={"fault": 10, "recovery": 10})

    assert latency_ratio(claim, evidence(arrivals=slow), SYSTEM).verdict is Verdict.FAIL
    judged = latency_ratio(claim, evidence(arrivals=drifted), SYSTEM)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "the machine itself became slower" in judged.sentence
