"""Claims about alert checks, in both directions."""

from __future__ import annotations

from dataclasses import replace

from chaos.checks.alerts import alert_fires, others_silent, scorecard
from chaos.model.evidence import AlertEvent
from chaos.model.expectations import AlertFires, OtherAlertsSilent
from chaos.model.faults import fault_from_json
from chaos.model.scenario import Load, Phase, Scenario
from chaos.model.verdict import Verdict
from tests.checks.evidence import FAULT, SYSTEM, evidence

CLAIM = AlertFires("CacheDown", labels=(("dependency", "cache"),), within_s=8, resolves_within_s=5)


def test_an_alert_that_fires_is_delivered_and_resolves_passes() -> None:
    """Times count from the confirmation of the fault and from the heal."""
    finding = alert_fires(CLAIM, evidence(), SYSTEM)

    assert finding.verdict is Verdict.PASS
    assert finding.measured is not None
    assert round(finding.measured, 2) == 5.95


def test_an_alert_with_a_wrong_label_is_another_alert() -> None:
    """The label that routing depends on must be right, and the wrong one is an unexpected alert."""
    wrong = tuple(replace(e, labels={"dependency": "broker"}) for e in evidence().alert_events)
    seen = evidence(alert_events=wrong)

    assert alert_fires(CLAIM, seen, SYSTEM).verdict is Verdict.FAIL
    assert others_silent(OtherAlertsSilent(), seen, SYSTEM, [CLAIM]).verdict is Verdict.FAIL


def test_late_undelivered_unresolved_and_early_alerts_fail() -> None:
    """Each half of the promise is judged."""
    stuck = evidence(alert_events=evidence().alert_events[:2])
    early = tuple(
        replace(e, t_s=5.0) if e.state == "firing" else e for e in evidence().alert_events
    )

    assert alert_fires(replace(CLAIM, within_s=3), evidence(), SYSTEM).verdict is Verdict.FAIL
    assert alert_fires(CLAIM, evidence(deliveries=()), SYSTEM).verdict is Verdict.FAIL
    assert alert_fires(CLAIM, stuck, SYSTEM).verdict is Verdict.FAIL
    assert alert_fires(CLAIM, evidence(alert_events=early), SYSTEM).verdict is Verdict.FAIL
    assert (
        others_silent(OtherAlertsSilent(), evidence(alert_events=early), SYSTEM, [CLAIM]).verdict
        is Verdict.FAIL
    )


def test_any_other_alert_breaks_the_silence_unless_allowed() -> None:
    """A firing that only the query over the whole run saw counts as well."""
    extra = AlertEvent(20.0, "prometheus", "OtherAlert", {}, "firing")
    loud = evidence(alert_events=(*evidence().alert_events, extra))
    history = [{"name": "OtherAlert", "labels": {}, "first_s": 20.0, "last_s": 21.0}]
    missed = evidence(monitoring={**evidence().monitoring, "alerts_history": history})

    assert others_silent(OtherAlertsSilent(), evidence(), SYSTEM, [CLAIM]).verdict is Verdict.PASS
    assert others_silent(OtherAlertsSilent(), loud, SYSTEM, [CLAIM]).verdict is Verdict.FAIL
    assert others_silent(OtherAlertsSilent(), missed, SYSTEM, [CLAIM]).verdict is Verdict.FAIL
    assert (
        others_silent(OtherAlertsSilent(("OtherAlert",)), loud, SYSTEM, [CLAIM]).verdict
        is Verdict.PASS
    )


def test_silence_of_rules_that_were_not_loaded_proves_nothing() -> None:
    """An absent rule cannot be silent."""
    bare = evidence(monitoring={**evidence().monitoring, "rules_loaded": ["CacheDown"]})

    assert others_silent(OtherAlertsSilent(), bare, SYSTEM, [CLAIM]).verdict is Verdict.INCONCLUSIVE


def test_scorecard_lists_expected_seen_and_silent_alerts() -> None:
    """Every rule of the system stands in the scorecard once."""
    phases = (Phase("fault", 20, (fault_from_json(FAULT),)),)
    scenario = Scenario("x", "c", Load(1, (("read", 1.0),)), phases, (CLAIM, OtherAlertsSilent()))
    cards = {c.name: c for c in scorecard(scenario, evidence(), SYSTEM)}

    assert {n: c.expected for n, c in cards.items()} == {
        "CacheDown": "fires",
        "OtherAlert": "silent",
        "Watchdog": "always",
    }
    assert cards["CacheDown"].delivered_s == 18.6
    assert cards["OtherAlert"].fired_s is None
