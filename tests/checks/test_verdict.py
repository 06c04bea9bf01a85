"""Claims about the verdict as a whole: it cannot pass vacuously."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.checks.judge import judge
from chaos.model import expectations as ex
from chaos.model.expectations import AlertFires, OtherAlertsSilent, RecoversWithin, SloHolds
from chaos.model.faults import Fault, fault_from_json
from chaos.model.scenario import Load, Phase, Scenario
from chaos.model.verdict import Finding, Verdict, overall
from tests.checks.evidence import FAULT, SYSTEM, arrivals, evidence

CACHE: Fault = fault_from_json(FAULT)
SCENARIO = Scenario(
    "cache-down",
    "claim",
    Load(200, (("read", 1.0),)),
    (
        Phase("warm-up", 2),
        Phase("baseline", 10),
        Phase("fault", 20, (CACHE,)),
        Phase("recovery", 10),
    ),
    (
        SloHolds("availability"),
        AlertFires("CacheDown", (("dependency", "cache"),)),
        OtherAlertsSilent(),
        RecoversWithin(3.0),
    ),
)


def verdict(**changes: Any) -> Verdict:
    """Judge the good run with `changes`."""
    return overall(judge(SCENARIO, SYSTEM, evidence(**changes)))


def test_the_good_run_passes() -> None:
    """Otherwise the other claims here would prove nothing."""
    assert verdict() is Verdict.PASS


def unconfirmed() -> dict[str, Any]:
    """Return a run whose injector did nothing: no read-back, no alert, no degradation."""
    lone = replace(evidence().injections[0], confirmed_s=None, witness={})
    return {
        "injections": (lone,),
        "arrivals": arrivals(classes={}),
        "alert_events": evidence().alert_events[:1],
        "deliveries": (),
    }


@pytest.mark.parametrize(
    "changes",
    [
        unconfirmed(),
        {"injections": ()},
        {"injections": (replace(evidence().injections[0], witness={"touched": False}),)},
        {"arrivals": arrivals().iloc[:0], "intended": 0},
        {"arrivals": arrivals().iloc[:-10], "intended": len(arrivals())},
        {"arrivals": arrivals(classes={"warm-up": "dropped"})},
        {"generator": {}},
        {"generator": {**evidence().generator, "send_lag_p99_ms": 400.0}},
        {"generator": {**evidence().generator, "finished": False}},
        {"monitoring": {}},
        {"monitoring": {**evidence().monitoring, "alive": False}},
        {"monitoring": {**evidence().monitoring, "watchdog_delivered": False}},
        {"monitoring": {**evidence().monitoring, "iterations_missed": 3}},
        {"monitoring": {**evidence().monitoring, "scrapes_failed": {"api": 90}}},
        {"monitoring": {**evidence().monitoring, "server_outcomes": {"ok": 10}}},
        {"invariants": {}},
        {
            "invariants": {
                **evidence().invariants,
                "machine": {"cores": 2, "ours_share": 0.3, "others_share": 0.6},
            }
        },
        {"invariants": {"residue_start": [], "residue_end": ["cache is disabled"]}},
    ],
)
def test_unsound_evidence_is_inconclusive(changes: dict[str, Any]) -> None:
    """Whatever guards the evidence takes the verdict away, even when every claim looks good or bad."""
    assert verdict(**changes) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("kind", "target", "failed", "expected"),
    [
        ("kill", "worker", 80, Verdict.PASS),
        ("pause", "worker", 80, Verdict.PASS),
        ("kill", "worker", 130, Verdict.INCONCLUSIVE),
        ("kill", "other", 80, Verdict.INCONCLUSIVE),
        ("refuse", "worker", 80, Verdict.INCONCLUSIVE),
    ],
)
def test_scrapes_that_a_fault_took_away_are_no_gap(
    kind: str, target: str, failed: int, expected: Verdict
) -> None:
    """A component that was killed or paused for half of the run cannot be scraped then; all else is a gap."""
    fault = {"kind": kind, "target": target}
    plan = evidence().plan
    phases = tuple(replace(p, faults=(fault,)) if p.faults else p for p in plan.phases)
    injection = replace(evidence().injections[0], fault=fault, target=target)
    scrapes = {f"scrapes_{what}": {"worker": 160} for what in ("expected", "seen")}
    monitoring = {**evidence().monitoring, **scrapes, "scrapes_failed": {"worker": failed}}
    changes = {"injections": (injection,), "monitoring": monitoring}

    assert verdict(plan=replace(plan, phases=phases), **changes) is expected


def test_a_broken_claim_on_sound_evidence_fails() -> None:
    """Errors in the fault phase are a FAIL when the fault was witnessed."""
    assert verdict(arrivals=arrivals(classes={"fault": "error"})) is Verdict.FAIL


def test_a_fault_that_was_never_healed_is_an_error() -> None:
    """Exit 4: something is left in force."""
    assert verdict(injections=(replace(evidence().injections[0], healed_s=None),)) is Verdict.ERROR


def test_a_check_that_crashes_is_an_error() -> None:
    """Evidence of a shape that no check expects must not pass."""
    broken = replace(evidence(), arrivals=arrivals().drop(columns=["class"]))

    assert overall(judge(SCENARIO, SYSTEM, broken)) is Verdict.ERROR


def test_nothing_judged_is_inconclusive() -> None:
    """No findings at all prove nothing, and each verdict has its own exit code."""
    passed = Finding("slo", "x", "run", Verdict.PASS, 0, 0, "", "")

    assert overall([]) is Verdict.INCONCLUSIVE
    assert overall([passed]) is Verdict.PASS
    assert [v.exit_code for v in Verdict] == [0, 1, 3, 4]


ONE_OF_EACH: tuple[ex.Expectation, ...] = (
    ex.SloHolds("availability"),
    ex.SloBreaks("availability", "fault"),
    ex.Degrades("cache", "fault", ("/items",), 0.9),
    ex.NotDegraded("baseline"),
    ex.LatencyRatio("fault", "baseline", ("/items",), 1.5),
    ex.BreakerOpens("cache", "fault", 1.0),
    ex.AlertFires("CacheDown"),
    ex.OtherAlertsSilent(),
    ex.RecoversWithin(3.0),
    ex.NeverAnswered(("read",), (200,)),
    ex.AnsweredWith(("read",), (200,), "fault", 0.9),
    ex.ProbeAnswers("fault", within_ms=100),
    ex.MetricQuantileAtMost("event_loop_lag_seconds", 0.99, 0.05, "fault"),
    ex.InvariantHolds("items-kept"),
)


def test_no_claim_of_any_kind_passes_on_no_evidence() -> None:
    """Without arrivals, samples, events, alerts and monitoring every single claim is open: none holds or crashes."""
    nothing = evidence(
        arrivals=arrivals().iloc[:0],
        intended=0,
        alert_events=(),
        deliveries=(),
        injections=(),
        log_events=(),
        monitoring={},
    )
    findings = judge(replace(SCENARIO, expectations=ONE_OF_EACH), SYSTEM, nothing)

    assert {type(claim) for claim in ONE_OF_EACH} == set(ex.Expectation.__args__)
    assert {f.verdict for f in findings[: len(ONE_OF_EACH)]} == {Verdict.INCONCLUSIVE}
