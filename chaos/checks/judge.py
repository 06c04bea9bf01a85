"""From a scenario and its evidence to findings. A check that crashes is an ERROR finding, never a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.checks.alerts import alert_fires, others_silent
from chaos.checks.answers import answered_with, never_answered
from chaos.checks.degradation import breaker_opens, degrades, not_degraded
from chaos.checks.honesty import honesty
from chaos.checks.invariants import invariant_holds
from chaos.checks.recovery import recovers_within
from chaos.checks.responsiveness import metric_quantile_at_most, probe_answers
from chaos.checks.slo import latency_ratio, slo_breaks, slo_holds
from chaos.checks.witness import witnesses
from chaos.model import expectations as ex
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.model.evidence import Evidence
    from chaos.model.scenario import Scenario, System

CHECKS: dict[type, Callable[..., Finding]] = {
    ex.SloHolds: slo_holds,
    ex.SloBreaks: slo_breaks,
    ex.LatencyRatio: latency_ratio,
    ex.Degrades: degrades,
    ex.NotDegraded: not_degraded,
    ex.BreakerOpens: breaker_opens,
    ex.AlertFires: alert_fires,
    ex.RecoversWithin: recovers_within,
    ex.NeverAnswered: never_answered,
    ex.AnsweredWith: answered_with,
    ex.ProbeAnswers: probe_answers,
    ex.MetricQuantileAtMost: metric_quantile_at_most,
    ex.InvariantHolds: invariant_holds,
}


def judge(scenario: Scenario, system: System, evidence: Evidence) -> tuple[Finding, ...]:
    """Judge every expectation, then the witnesses and the honesty of the run."""
    findings = [_safely(e, scenario, system, evidence) for e in scenario.expectations]
    guards: dict[str, Callable[[], list[Finding]]] = {
        "witness": lambda: witnesses(evidence),
        "honesty": lambda: honesty(evidence, system),
    }
    for name, guard in guards.items():
        try:
            findings.extend(guard())
        except Exception as error:  # noqa: BLE001 (a crashed check must become a verdict)
            findings.append(_crashed(name, f"all {name} checks", error))
    return tuple(findings)


def _safely(
    expectation: ex.Expectation, scenario: Scenario, system: System, evidence: Evidence
) -> Finding:
    name = type(expectation).__name__
    try:
        if isinstance(expectation, ex.OtherAlertsSilent):
            wanted = [e for e in scenario.expectations if isinstance(e, ex.AlertFires)]
            return others_silent(expectation, evidence, system, wanted)
        return CHECKS[type(expectation)](expectation, evidence, system)
    except Exception as error:  # noqa: BLE001 (a crashed check must become a verdict)
        return _crashed("check", name, error)


def _crashed(kind: str, name: str, error: Exception) -> Finding:
    text = f"the check crashed: {type(error).__name__}: {error}"
    return Finding(kind, name, "run", Verdict.ERROR, None, None, "", text)
