"""What would end INCONCLUSIVE even if all goes well: said before anything starts, for a run costs a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.engine.probes import PROBE_EVERY_S
from chaos.model import expectations as ex
from chaos.model.schedule import schedule
from chaos.model.slo import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.model.scenario import Scenario, System

REMEDY = "give them more weight in the load, or take another seed"


def doubts_of(scenario: Scenario, system: System) -> Iterator[str]:
    """Yield one line for each claim that the load cannot decide."""
    if scenario.load.rate_rps == 0:
        yield "the load is 0 arrivals a second: nothing can be proved"
        return
    for expectation in scenario.expectations:
        doubt = ""
        if isinstance(expectation, ex.SloHolds):
            doubt = _slo(expectation, scenario, system)
        elif isinstance(expectation, ex.NeverAnswered):
            doubt = _never_answered(expectation, scenario)
        elif isinstance(expectation, ex.AnsweredWith):
            doubt = _answered_with(expectation, scenario)
        elif isinstance(expectation, ex.ProbeAnswers):
            doubt = _probes(expectation, scenario)
        elif isinstance(expectation, ex.InvariantHolds):
            doubt = _invariant(expectation, scenario, system)
        if doubt:
            yield doubt


def _slo(expectation: ex.SloHolds, scenario: Scenario, system: System) -> str:
    slo = system.slo(expectation.slo)
    expected = _expected(scenario, expectation.phase)
    best = wilson(0, expected).high
    if best <= slo.max_bad:
        return ""
    return (
        f"{slo.name} in {expectation.phase}: about {expected} arrivals can show at best "
        f"{best * 100:.3g} % bad, limit {slo.max_bad * 100:.3g} %; raise the rate or lengthen the phase"
    )


def _never_answered(expectation: ex.NeverAnswered, scenario: Scenario) -> str:
    intended = _intended(scenario, expectation.phase, expectation.journeys)
    if intended >= expectation.min_arrivals:
        return ""
    return (
        f"{' and '.join(expectation.journeys)} in {expectation.phase}: {intended} arrivals, of which at least "
        f"{expectation.min_arrivals} must be answered; {REMEDY}"
    )


def _answered_with(expectation: ex.AnsweredWith, scenario: Scenario) -> str:
    intended = _intended(scenario, expectation.phase, expectation.journeys)
    best = wilson(intended, intended).low
    if best >= expectation.min_share:
        return ""
    return (
        f"{' and '.join(expectation.journeys)} in {expectation.phase}: {intended} arrivals can show at best "
        f"{best * 100:.3g} %, expected {expectation.min_share * 100:.3g} %; {REMEDY}"
    )


def _probes(expectation: ex.ProbeAnswers, scenario: Scenario) -> str:
    start, end = scenario.window(expectation.phase)
    expected = round((end - start) / PROBE_EVERY_S)
    if expected >= expectation.min_probes:
        return ""
    return (
        f"{expectation.path} in {expectation.phase}: at most {expected} probes, of which at least "
        f"{expectation.min_probes} are needed; lengthen the phase"
    )


def _invariant(expectation: ex.InvariantHolds, scenario: Scenario, system: System) -> str:
    journeys = system.invariant(expectation.name).journeys
    # Writes of the warm-up are acknowledged like all others.
    intended = sum(_intended(scenario, phase.name, journeys) for phase in scenario.phases)
    if not journeys or intended >= expectation.min_count:
        return ""
    return (
        f"{expectation.name}: {intended} arrivals of {' and '.join(journeys)}, of which at least "
        f"{expectation.min_count} must be acknowledged; {REMEDY}"
    )


def _expected(scenario: Scenario, phase: str) -> int:
    """Return about how many arrivals a phase has."""
    start, end = scenario.window(phase)
    share = sum(p.load_factor * p.duration_s for p in scenario.phases) / scenario.duration_s
    return int((end - start) * scenario.load.rate_rps * share)


def _intended(scenario: Scenario, phase: str, journeys: tuple[str, ...]) -> int:
    """Return how many arrivals of some journeys a phase has, with this very seed: of few, chance has its share."""
    start, end = scenario.window(phase)
    arrivals = schedule(scenario.load, scenario.phases, scenario.seed)
    return sum(due.journey in journeys and start <= due.due_s < end for due in arrivals)
