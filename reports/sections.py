"""The parts of a report around the time line: key numbers, recovery, honesty, configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.lanes import breaker_lanes
from reports.wording import (
    NONE,
    TIMES,
    amount,
    fault_text,
    millis,
    moment,
    number,
    percent,
    seconds,
    telling_labels,
)

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence
    from chaos.model.run import AlertRecord, RunResult
    from reports.figures import Figures, Mix

MANY = 6
_MONITORING = {
    "alive": ("Prometheus", "answered at the end of the run"),
    "scrapes": ("Scrapes", "succeeded, of those that were due"),
    "rule_iterations_missed": ("Rule evaluations missed", "an alert could have come late or never"),
    "evaluation_failures": ("Rule evaluations failed", "an alert could have come late or never"),
    "server_outcomes": ("By the server's own count", "what it says it answered"),
    "watchdog_delivered": ("Watchdog delivered", "the alert that always fires came through"),
    "short_window_full": (
        "History was full",
        "the rules had their shortest window before the load",
    ),
    "poll_errors": ("Alert polls failed", "how the alerting servers were watched"),
    "longest_gap_s": ("Longest gap between polls", "a change of state is seen no later than this"),
}
_TOLD = frozenset(
    {
        "alerts_history",
        "iterations_missed",
        "poll_errors",
        "problem",
        "scrapes_expected",
        "scrapes_failed",
        "scrapes_seen",
    }
)
"""Facts of the monitoring that the time line, the findings or the honesty numbers already tell."""
_GENERATOR = {
    "send_lag_p50_ms": ("Send lag p50", "how late requests left, at the median"),
    "send_lag_p99_ms": (
        "Send lag p99",
        "how late requests left; a slow generator would blame the system",
    ),
    "generator_cpu": ("Generator CPU", "share of one core"),
    "intended": ("Intended", "arrivals of the schedule"),
    "begun": ("Begun", "arrivals that were sent"),
    "ended": ("Ended", "arrivals with an answer or a timeout"),
    "dropped": ("Dropped", "intended and never sent; they count as bad"),
    "censored": ("Censored", "sent and never ended; they count as bad"),
    "finished": ("Schedule finished", "the generator reached the end of its plan"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A name, a value and what it means."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that got healthy again: when, and how long after the last heal, or never."""

    name: str
    at_s: float | None
    after_s: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Alerts with a word of judgement each, and the names of those that were rightly silent."""

    rows: tuple[tuple[AlertRecord, str], ...]
    silent: tuple[str, ...]


def key_numbers(result: RunResult, evidence: Evidence, figures: Figures) -> list[Fact]:
    """Return the five or six numbers that people ask for first."""
    plan, overall, bad = evidence.plan, figures.overall, figures.bad
    span = (
        f"{number(plan.rate_rps)}/s {plan.arrivals} for {number(plan.phases[-1].end_s)} s"
        if plan.phases
        else ""
    )
    total = len(evidence.arrivals)
    facts = [Fact("Arrivals", f"{total:,}", span or "not recorded")]
    if overall.total:
        interval = f"95 % CI {number(bad.low * 100)} to {percent(bad.high)}"
        facts.append(
            Fact(
                "Bad",
                percent(bad.estimate),
                f"{overall.bad:,} of {overall.total:,}; {interval}",
            )
        )
    broken = _broken_phase(evidence, figures)
    if broken and broken.total:
        base = next((m for m, _ in figures.phases if m.name == "baseline"), None)
        against = (
            f"from intended arrival; baseline {millis(base.p95_ms)}"
            if base
            else "from intended arrival"
        )
        facts.append(
            Fact(
                "Degraded",
                percent(broken.share("degraded")),
                f"of arrivals in {broken.name}",
            )
        )
        facts.append(Fact(f"p95 in {broken.name}", millis(broken.p95_ms), against))
    elif overall.total:
        facts.append(Fact("p95", millis(overall.p95_ms), "from intended arrival"))
    fired = [a for a in result.alerts if a.expected == "fires"]
    seen = sorted((a for a in fired if a.detect_s is not None), key=lambda a: a.detect_s or 0.0)
    if seen:
        note = f"{seen[0].name} after the fault; {len(seen)} of {len(fired)} fired"
        facts.append(Fact("First alert", seconds(seen[0].detect_s), note))
    elif result.alerts:
        wrong = sum(a.fired_s is not None and a.expected == "silent" for a in result.alerts)
        facts.append(Fact("Alerts fired", str(wrong), f"of {len(result.alerts)} that were watched"))
    recovery = next((f for f in result.findings if f.kind == "recovery"), None)
    if recovery:
        limit = f"after the heal; limit {amount(recovery.limit, recovery.unit)}"
        facts.append(Fact("Recovered in", amount(recovery.measured, recovery.unit), limit))
    return facts


def scorecard(result: RunResult) -> Scorecard:
    """Sort the alerts into a table, expected ones first, and the names of the rightly silent."""
    rank = {"fires": 0, "silent": 1, "allowed": 2, "always": 3}
    quiet = [a for a in result.alerts if a.fired_s is None and a.expected in {"silent", "allowed"}]
    rows = [a for a in result.alerts if a not in quiet]
    rows.sort(key=lambda a: (rank.get(a.expected, 4), a.name))
    return Scorecard(
        tuple((a, _score(a)) for a in rows), tuple(dict.fromkeys(a.name for a in quiet))
    )


def recovery(result: RunResult, evidence: Evidence, end_s: float) -> list[Moment]:
    """Return what happened after the last heal, in order of time; empty when there was none."""
    injections = evidence.injections or result.injections
    heals = [i.healed_s for i in injections if i.healed_s is not None]
    if not heals:
        return []
    heal = max(heals)
    rows = evidence.arrivals
    moments = []
    for classes, name in (
        (("error", "timeout", "censored", "dropped"), "last bad arrival"),
        (("degraded",), "last degraded arrival"),
    ):
        due = rows.loc[rows["class"].isin(classes), "due_s"]
        if len(due):
            last = float(due.max())
            count = int((due >= heal).sum())
            moments.append(
                Moment(name, last, max(0.0, last - heal), f"{count:,} due after the heal")
            )
    for lane in breaker_lanes(evidence, end_s).rows:
        closed = lane.bars[-1].end_s
        name = f"breaker {lane.name} closed"
        never = closed >= end_s
        moments.append(
            Moment(name, None, None, "still open at the end")
            if never
            else _after(name, closed, heal)
        )
    for alert in result.alerts:
        if alert.fired_s is None or alert.expected == "always":
            continue
        name = f"{alert.name}{telling_labels(alert.labels)} resolved"
        if alert.resolved_s is None:
            moments.append(Moment(name, None, None, "never resolved"))
            continue
        sent = alert.resolve_delivered_s
        moments.append(
            _after(
                name,
                alert.resolved_s,
                heal,
                f"delivered at {seconds(sent)}" if sent else "",
            )
        )
    moments.sort(key=lambda m: math.inf if m.at_s is None else m.at_s)
    what = ", ".join(dict.fromkeys(fault_text(i.fault) for i in injections if i.healed_s == heal))
    return [Moment(f"heal of {what}", heal, 0.0), *moments]


def honesty(result: RunResult, evidence: Evidence, figures: Figures) -> list[Fact]:
    """Return the numbers that say whether the measurement itself can be trusted."""
    known = {**evidence.generator, **result.honesty}
    facts = []
    if math.isfinite(figures.from_send_p95_ms):
        sent, due = figures.from_send_p95_ms, figures.from_intended_p95_ms
        note = (
            f"p95 of answered arrivals {millis(due)} from the intended arrival, "
            f"{millis(sent)} from the send"
        )
        facts.append(
            Fact(
                "Coordinated-omission gap",
                f"{number(due / sent) if sent > 0 else NONE} {TIMES}",
                note,
            )
        )
    if figures.unaccounted is not None:
        note = "arrivals of the plan that are not in the ledger"
        facts.append(Fact("Unaccounted", f"{figures.unaccounted:,}", note))
    for key, (name, note) in _GENERATOR.items():
        if key in known:
            value = known.pop(key)
            shown = (
                percent(float(value))
                if key == "generator_cpu" and _is_number(value)
                else _plain(key, value)
            )
            facts.append(Fact(name, shown, note))
    known.pop("unaccounted", None)
    watched = {k: v for k, v in evidence.monitoring.items() if k not in _TOLD}
    facts.extend(_fact(key, value) for key, value in {**watched, **known}.items())
    return facts


def invariants(evidence: Evidence) -> list[Fact]:
    """Return what the final reads found, flattened."""
    return [_fact(key, value) for key, value in evidence.invariants.items()]


def configuration(result: RunResult, evidence: Evidence) -> list[Fact]:
    """Return all that is needed to run this again and to know what ran."""
    plan = evidence.plan
    facts = [
        Fact("Scenario", result.scenario),
        Fact("Started", moment(result.started_at)),
        Fact("Runtime", result.runtime),
        Fact("Seed", str(result.seed)),
        Fact(
            "Time scale S",
            number(result.time_scale),
            "alert times are divided by S; load and ratios are real",
        ),
    ]
    if plan.phases:
        journeys = ", ".join(f"{name} {number(weight)}" for name, weight in plan.journeys)
        facts.append(Fact("Load", f"{number(plan.rate_rps)}/s, {plan.arrivals}", journeys))
        phases = ", ".join(
            f"{p.name} {number(p.end_s - p.start_s)} s"
            + (f" {TIMES} {number(p.load_factor)}" if p.load_factor != 1 else "")
            for p in plan.phases
        )
        facts.append(Fact("Phases", phases))
    if plan.topology_digest:
        facts.append(Fact("Topology digest", plan.topology_digest))
    timings = ", ".join(f"{k.removesuffix('_s')} {seconds(v)}" for k, v in result.timings.items())
    facts.append(Fact("Took", timings or NONE))
    facts.extend(_fact(key, value) for key, value in result.environment.items())
    facts.extend(Fact(name, version) for name, version in sorted(plan.versions.items()))
    return facts


def _score(alert: AlertRecord) -> str:
    """Say in a word how an alert of the table did."""
    if alert.expected == "always":
        return "always on" if alert.fired_s is not None else "missing"
    if alert.expected == "silent":
        return "unexpected"
    if alert.fired_s is None:
        return "missing"
    return (
        "never resolved"
        if alert.resolved_s is None
        else "as expected"
        if alert.expected == "fires"
        else "allowed"
    )


def _after(name: str, at_s: float, heal_s: float, note: str = "") -> Moment:
    return Moment(name, at_s, at_s - heal_s, note)


def _broken_phase(evidence: Evidence, figures: Figures) -> Mix | None:
    names = {p.name for p in evidence.plan.phases if p.faults}
    return next((mix for mix, _ in figures.phases if mix.name in names), None)


def _fact(key: str, value: object) -> Fact:
    """Return a recorded value under its own name, with an explanation where there is one."""
    name, note = _MONITORING.get(key, (_title(key), ""))
    return Fact(name, _plain(key, value), note)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(key: str, value: object) -> str:
    """Write any JSON value in a few words, in the unit that the end of its name tells."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_number(value):
        return _quantity(key, float(value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(key, v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        if len(value) > MANY or any(isinstance(v, dict) for v in value):
            return f"{len(value):,}"
        return ", ".join(map(str, value)) or "none"
    return NONE if value is None or value == "" else str(value)


def _quantity(key: str, value: float) -> str:
    if key == "scrapes":
        return percent(value)
    if key.endswith("_ms"):
        return millis(value)
    return seconds(value) if key.endswith("_s") else number(value, 4)


def _title(key: str) -> str:
    words = key.removesuffix("_ms").removesuffix("_s").replace("_", " ")
    return words[:1].upper() + words[1:]
