"""Walk a scenario before anything starts: names exist, every fault heals, every claim can be decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.engine.doubts import doubts_of
from chaos.engine.probes import HISTOGRAMS, PROBE_LIMIT_S, PROBED
from chaos.engine.timeline import timeline
from chaos.errors import UsageError, unknown
from chaos.model import expectations as ex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from chaos.model.faults import Fault
    from chaos.model.invariants import Invariant
    from chaos.model.scenario import Scenario, System
    from chaos.model.topology import Topology

DETECT_FIXED_S = 1.5
"""Real time that no time scale shortens: health check, scrape, evaluation, poll."""
MIN_SHARE_CERTAIN = 0.02


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The walked timeline as lines for people, and what would end INCONCLUSIVE."""

    lines: tuple[str, ...]
    doubts: tuple[str, ...]


def rehearse(
    scenario: Scenario, system: System, topology: Topology, time_scale: float
) -> Rehearsal:
    """Check a scenario against its system and topology. Raises `UsageError` on the first thing that cannot be."""
    _names(scenario, system, topology)
    for expectation in scenario.expectations:
        if isinstance(expectation, ex.AlertFires):
            _alert_fits(expectation, scenario, system, time_scale)
    doubts = tuple(doubts_of(scenario, system))
    return Rehearsal(tuple(_picture(scenario, time_scale)), doubts)


def _names(scenario: Scenario, system: System, topology: Topology) -> None:
    where = f" in scenario {scenario.name!r}"
    for name, _ in scenario.load.journeys:
        _known("journey", name, system.journeys, where)
    for fault in (fault for phase in scenario.phases for fault in phase.faults):
        check_target(fault, topology)
    for setting in scenario.settings:
        there = dict(topology.component(setting.component).environment)
        _known(f"setting of {setting.component}", setting.name, there, where)
    for expectation in scenario.expectations:
        _expectation(expectation, system, where)
        if isinstance(expectation, ex.BreakerOpens) and expectation.component:
            topology.component(expectation.component)
        if isinstance(expectation, ex.InvariantHolds):
            _invariant(system.invariant(expectation.name), system, topology)
        if isinstance(expectation, ex.AlertFires):
            _alert_labels(expectation, system, topology, where)


def _expectation(expectation: ex.Expectation, system: System, where: str) -> None:
    for attribute, kind, known in (
        ("breaker", "breaker", system.breakers),
        ("after_breaker", "breaker", system.breakers),
        ("feature", "feature", system.features),
        ("family", "histogram", HISTOGRAMS),
        ("path", "probed path", PROBED),
    ):
        _known(kind, getattr(expectation, attribute, ""), known, where)
    for attribute, kind, known in (
        ("routes", "route", system.routes),
        ("journeys", "journey", system.journeys),
    ):
        for name in getattr(expectation, attribute, ()):
            _known(kind, name, known, where)
    if isinstance(expectation, ex.SloHolds | ex.SloBreaks):
        system.slo(expectation.slo)
    if isinstance(expectation, ex.OtherAlertsSilent):
        for name in expectation.allowed:
            system.alert(name)
    if isinstance(expectation, ex.ProbeAnswers):
        _probe(expectation, where)


def _invariant(invariant: Invariant, system: System, topology: Topology) -> None:
    """Check that each read which judges the invariant leads to a component, and that it will be let in."""
    where = f" of invariant {invariant.name!r}"
    for name in invariant.journeys:
        _known("journey", name, system.journeys, where)
    for name in dict.fromkeys((*invariant.reads, *system.settles)):
        read = system.read(name)
        part = topology.component(read.component)
        if read.port not in part.ports:
            raise UsageError(
                f"read {name!r}{where}: {part.name} has no port {read.port}; expected one of "
                f"{', '.join(map(str, part.ports)) or 'none'}"
            )
        for variable in read.credentials:
            _known("variable", variable, tuple(dict(part.environment)), f" of {part.name!r}{where}")


def _probe(expectation: ex.ProbeAnswers, where: str) -> None:
    limit_ms = PROBE_LIMIT_S * 1_000
    if not 0 < expectation.within_ms < limit_ms:
        raise UsageError(
            f"ProbeAnswers of {expectation.path}{where}: within_ms={expectation.within_ms:g}; expected more than 0 "
            f"and less than the {limit_ms:g} ms after which a probe is given up"
        )


def check_target(fault: Fault, topology: Topology) -> None:
    """Raise `UsageError` with the nearest name when the fault aims at nothing."""
    if fault.target_kind == "dependency":
        topology.dependency(fault.target)
    else:
        topology.component(fault.target)


def _alert_labels(
    expectation: ex.AlertFires, system: System, topology: Topology, where: str
) -> None:
    alert = system.alert(expectation.alert)
    for label, value in expectation.labels:
        _known("label", label, alert.labels, f" of alert {alert.name!r}{where}")
        if label == "dependency":
            topology.dependency(value)


def _known(kind: str, name: str, known: Collection[str], where: str) -> None:
    """Raise `UsageError` when `name` is none of `known`; an empty name asks for nothing."""
    if name and name not in known:
        raise unknown(kind, name, known, where=where)


def _alert_fits(
    expectation: ex.AlertFires, scenario: Scenario, system: System, time_scale: float
) -> None:
    alert = system.alert(expectation.alert)
    start, end = scenario.window(expectation.phase)
    if not any(p.faults for p in scenario.phases if p.name == expectation.phase):
        raise UsageError(
            f"scenario {scenario.name!r}: {alert.name} is expected in phase {expectation.phase!r}, which has no "
            "fault; name the phase of the fault"
        )
    for what, needed, has in (
        ("fire", alert.detect_s / time_scale + DETECT_FIXED_S, end - start),
        ("resolve", alert.resolve_s / time_scale + DETECT_FIXED_S, scenario.duration_s - end),
    ):
        if needed > has:
            raise UsageError(
                f"scenario {scenario.name!r}: {alert.name} needs {needed:.1f} s to {what} at time scale "
                f"{time_scale:g} and has {has:.1f} s; lengthen the phase or raise --time-scale"
            )


def _picture(scenario: Scenario, time_scale: float) -> Iterator[str]:
    width = 60
    total = scenario.duration_s
    yield f"{scenario.name}: {scenario.claim}"
    yield f"{total:g} s of load at {scenario.load.rate_rps:g}/s {scenario.load.arrivals}, time scale {time_scale:g}"
    for setting in scenario.settings:
        yield f"  {setting.component} with {setting.name}={setting.value} all along"
    for phase in scenario.phases:
        start, end = scenario.window(phase.name)
        left, right = (
            int(start / total * width),
            max(int(start / total * width) + 1, int(end / total * width)),
        )
        mark = "█" if phase.faults else "─"
        bar = " " * left + mark * (right - left) + " " * (width - right)
        faults = ", ".join(f.sentence for f in phase.faults)
        yield f"  {phase.name:<10} |{bar}| {start:5.1f} to {end:5.1f} s  {faults}".rstrip()
    for step in timeline(scenario):
        if step.action in {"inject", "heal"}:
            what = step.fault.sentence if step.fault else f"all faults of {step.phase}"
            yield f"  {step.t_s:6.1f} s  {step.action:<6} {what}"
