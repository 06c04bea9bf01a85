"""Claims about degradation, breaker and recovery checks."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from chaos.checks.degradation import breaker_opens, degrades, not_degraded
from chaos.checks.recovery import recovers_within
from chaos.model.evidence import LogEvent
from chaos.model.expectations import BreakerOpens, Degrades, NotDegraded, RecoversWithin
from chaos.model.verdict import Verdict
from tests.checks.evidence import ROUTE, SYSTEM, arrivals, evidence

CLAIM = Degrades("cache", "fault", (ROUTE,), min_share=0.98)


def test_degraded_answers_pass_and_healthy_ones_fail() -> None:
    """A feature must say that it is degraded while its dependency is away."""
    silent = evidence(arrivals=arrivals(classes={"fault": "ok"}))

    assert degrades(CLAIM, evidence(), SYSTEM).verdict is Verdict.PASS
    assert degrades(CLAIM, silent, SYSTEM).verdict is Verdict.FAIL


def test_errors_are_not_degradation() -> None:
    """An app whose fallback was removed answers errors: FAIL."""
    broken = evidence(arrivals=arrivals(classes={"fault": "error"}))

    assert degrades(CLAIM, broken, SYSTEM).verdict is Verdict.FAIL


def test_another_feature_does_not_count() -> None:
    """`X-Degraded: storage` says nothing about the cache."""
    rows = arrivals()
    rows.loc[rows["class"] == "degraded", "degraded"] = "storage"

    assert degrades(CLAIM, evidence(arrivals=rows), SYSTEM).verdict is Verdict.FAIL


def test_no_traffic_on_the_route_proves_no_degradation() -> None:
    """Load that avoids the route makes the claim INCONCLUSIVE."""
    elsewhere = replace(CLAIM, routes=("/other",))

    assert degrades(elsewhere, evidence(), SYSTEM).verdict is Verdict.INCONCLUSIVE


def test_control_phase_must_not_be_degraded() -> None:
    """Up but degraded is not healthy."""
    assert not_degraded(NotDegraded("baseline", 0.01), evidence(), SYSTEM).verdict is Verdict.PASS
    assert not_degraded(NotDegraded("fault", 0.01), evidence(), SYSTEM).verdict is Verdict.FAIL


def test_breaker_must_open_in_time_and_close_again() -> None:
    """Late, missing or left open are failures."""
    claim = BreakerOpens("cache", "fault", within_s=1.0)
    opened = LogEvent(14.5, "app", "breaker_opened", {"breaker": "cache"})
    closed = LogEvent(32.9, "app", "breaker_closed", {"breaker": "cache"})

    assert breaker_opens(claim, evidence(), SYSTEM).verdict is Verdict.PASS
    assert (
        breaker_opens(claim, evidence(log_events=(opened, closed)), SYSTEM).verdict is Verdict.FAIL
    )
    assert breaker_opens(claim, evidence(log_events=()), SYSTEM).verdict is Verdict.FAIL
    assert (
        breaker_opens(claim, evidence(log_events=(replace(opened, t_s=12.2),)), SYSTEM).verdict
        is Verdict.FAIL
    )
    assert breaker_opens(claim, evidence(injections=()), SYSTEM).verdict is Verdict.INCONCLUSIVE


def test_a_breaker_of_another_component_is_another_breaker() -> None:
    """A worker's breaker that stayed open says nothing about the app's, and one that opened is not the app's."""
    claim = BreakerOpens("cache", "fault", within_s=1.0)
    worker = LogEvent(33.5, "worker", "breaker_opened", {"breaker": "cache"})
    both = evidence(log_events=(*evidence().log_events, worker))
    of_app, of_worker = (replace(claim, component=name) for name in ("app", "worker"))

    assert breaker_opens(of_app, both, SYSTEM).verdict is Verdict.PASS
    assert breaker_opens(of_worker, both, SYSTEM).verdict is Verdict.FAIL
    assert breaker_opens(claim, both, SYSTEM).verdict is Verdict.FAIL


def test_recovery_is_the_end_of_the_last_unhealthy_half_second() -> None:
    """Degraded arrivals up to 1.4 s after the heal measure as 1.5 s."""
    rows = arrivals()
    late = (rows["due_s"] >= 32.1) & (rows["due_s"] < 33.5)
    rows.loc[late, "class"] = "degraded"
    finding = recovers_within(RecoversWithin(3.0), evidence(arrivals=rows), SYSTEM)

    assert finding.verdict is Verdict.PASS
    assert finding.measured == 1.5
    assert (
        recovers_within(RecoversWithin(1.0), evidence(arrivals=rows), SYSTEM).verdict
        is Verdict.FAIL
    )


def test_recovery_without_heal_or_traffic_is_inconclusive() -> None:
    """Nothing healed, or nobody looking, is no recovery."""
    unhealed = replace(evidence().injections[0], healed_s=None)
    rows = arrivals()
    gap = pd.DataFrame(rows[(rows["due_s"] < 34) | (rows["due_s"] > 36)])

    assert (
        recovers_within(RecoversWithin(3.0), evidence(injections=(unhealed,)), SYSTEM).verdict
        is Verdict.INCONCLUSIVE
    )
    assert (
        recovers_within(RecoversWithin(3.0), evidence(arrivals=gap), SYSTEM).verdict
        is Verdict.INCONCLUSIVE
    )


def test_only_the_named_journeys_are_asked_to_be_degraded() -> None:
    """Arrivals of other journeys on the same route may be answered before the feature is asked at all."""
    rows = arrivals()
    others = rows.index % 3 == 0
    rows.loc[others, ["journey", "class", "degraded"]] = ["guess", "ok", ""]
    mixed = evidence(arrivals=rows)
    everyone = Degrades("cache", "fault", (ROUTE,), min_share=0.95)
    named = Degrades("cache", "fault", (ROUTE,), min_share=0.95, journeys=("read",))

    assert degrades(everyone, mixed, SYSTEM).verdict is Verdict.FAIL
    assert degrades(named, mixed, SYSTEM).verdict is Verdict.PASS
