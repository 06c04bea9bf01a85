"""Alerts judged in both directions: the right ones fire, are delivered and resolve; all others stay silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.checks.common import injections_of, last_heal_s
from chaos.model.expectations import AlertFires, OtherAlertsSilent
from chaos.model.run import AlertRecord
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.model.evidence import Evidence
    from chaos.model.scenario import Scenario, System


@dataclass(frozen=True, slots=True)
class Firing:
    """One stretch of time in which an alert fired; `resolved_s` is None when it still did at the end."""

    name: str
    labels: dict[str, str]
    fired_s: float
    resolved_s: float | None


def firings(evidence: Evidence) -> tuple[Firing, ...]:
    """Fold what Prometheus and Alertmanager showed into stretches, by the earliest and latest witness.

    A stretch that only the query over the whole run saw (`alerts_history`) counts as well: sampling may miss it.
    """
    open_: dict[str, Firing] = {}
    done: list[Firing] = []
    for event in sorted(evidence.alert_events, key=lambda e: e.t_s):
        if event.source != "prometheus":
            continue
        key = _key(event.name, event.labels)
        if event.state == "firing" and key not in open_:
            open_[key] = Firing(event.name, event.labels, event.t_s, None)
        elif event.state != "firing" and key in open_:
            first = open_.pop(key)
            done.append(Firing(first.name, first.labels, first.fired_s, event.t_s))
    done.extend(open_.values())
    seen = {_key(f.name, f.labels) for f in done}
    done.extend(
        Firing(row["name"], row["labels"], row["first_s"], row["last_s"])
        for row in evidence.monitoring.get("alerts_history", [])
        if _key(row["name"], row["labels"]) not in seen
    )
    return tuple(sorted(done, key=lambda f: f.fired_s))


def alert_fires(expectation: AlertFires, evidence: Evidence, _system: System) -> Finding:
    """Judge that the alert fired in time after the injection, was delivered, and resolved in time after the heal."""
    name = _title(expectation)
    confirmed = [
        i.confirmed_s
        for i in injections_of(evidence, expectation.phase)
        if i.confirmed_s is not None
    ]
    if not confirmed:
        text = "no fault was confirmed in this phase, so the alert had no reason to fire"
        return _finding(expectation, name, Verdict.INCONCLUSIVE, None, text)
    record = alert_record(expectation, evidence)
    if record.fired_s is None:
        early = [f for f in firings(evidence) if _matches(expectation, f.name, f.labels)]
        text = f"fired at {early[0].fired_s:.1f} s, before the fault" if early else "never fired"
        return _finding(expectation, name, Verdict.FAIL, None, text)
    assert record.detect_s is not None  # noqa: S101 (set together with fired_s)
    problems = []
    if record.detect_s > expectation.within_s:
        problems.append("too late")
    if expectation.delivered and record.delivered_s is None:
        problems.append("never delivered to the webhook")
    healed = last_heal_s(evidence)
    resolved_in = (
        None
        if record.resolved_s is None or healed is None
        else max(0.0, record.resolved_s - healed)
    )
    if resolved_in is None:
        problems.append("never resolved")
    elif resolved_in > expectation.resolves_within_s:
        problems.append(f"resolved only {resolved_in:.1f} s after the heal")
    text = (
        f"fired {record.detect_s:.1f} s after the fault (limit {expectation.within_s:g} s)"
        + (f", delivered at {record.delivered_s:.1f} s" if record.delivered_s is not None else "")
        + (f", resolved {resolved_in:.1f} s after the heal" if resolved_in is not None else "")
        + (f": {', '.join(problems)}" if problems else "")
    )
    verdict = Verdict.FAIL if problems else Verdict.PASS
    return _finding(expectation, name, verdict, record.detect_s, text)


def alert_record(expectation: AlertFires, evidence: Evidence) -> AlertRecord:
    """Return what was seen of an expected alert, counted from the confirmation of its fault."""
    confirmed = [
        i.confirmed_s
        for i in injections_of(evidence, expectation.phase)
        if i.confirmed_s is not None
    ]
    start = min(confirmed, default=float("inf"))
    stretches = [
        f
        for f in firings(evidence)
        if _matches(expectation, f.name, f.labels) and f.fired_s >= start
    ]
    first = stretches[0] if stretches else None
    deliveries = [
        d for d in evidence.deliveries if _matches(expectation, d.name, d.labels) and d.t_s >= start
    ]
    return AlertRecord(
        name=expectation.alert,
        labels=first.labels if first else dict(expectation.labels),
        expected="fires",
        fired_s=first.fired_s if first else None,
        resolved_s=stretches[-1].resolved_s if stretches else None,
        detect_s=first.fired_s - start if first else None,
        delivered_s=next((d.t_s for d in deliveries if d.status == "firing"), None),
        resolve_delivered_s=next((d.t_s for d in deliveries if d.status == "resolved"), None),
    )


def others_silent(
    expectation: OtherAlertsSilent, evidence: Evidence, system: System, wanted: Iterable[AlertFires]
) -> Finding:
    """Judge that no alert fired which the scenario neither expects (then and with those labels) nor allows."""
    expected = tuple(wanted)
    always = {a.name for a in system.alerts if a.always}
    loaded = set(evidence.monitoring.get("rules_loaded", ()))
    missing = sorted({a.name for a in system.alerts} - loaded)
    if missing:
        text = f"rules not loaded, so their silence proves nothing: {', '.join(missing)}"
        return Finding(
            "alert", "all other alerts silent", "run", Verdict.INCONCLUSIVE, None, 0, "alerts", text
        )
    start = min((i.asked_s for i in evidence.injections), default=float("inf"))
    extra = [
        f
        for f in firings(evidence)
        if f.name not in always
        and f.name not in expectation.allowed
        and not (f.fired_s >= start and any(_matches(e, f.name, f.labels) for e in expected))
    ]
    named = ", ".join(f"{f.name}{_labels(f.labels)} at {f.fired_s:.1f} s" for f in extra[:5])
    text = (
        f"{len(extra)} fired unexpectedly: {named}"
        if extra
        else f"silent: {len(loaded - always) - len({e.alert for e in expected})} other rules, evaluated all along"
    )
    verdict = Verdict.FAIL if extra else Verdict.PASS
    return Finding(
        "alert", "all other alerts silent", "run", verdict, len(extra), 0, "alerts", text
    )


def scorecard(scenario: Scenario, evidence: Evidence, system: System) -> tuple[AlertRecord, ...]:
    """Return one record for each expected alert, each that fired, and each other rule (silent)."""
    expected = [e for e in scenario.expectations if isinstance(e, AlertFires)]
    allowed = {
        n for e in scenario.expectations if isinstance(e, OtherAlertsSilent) for n in e.allowed
    }
    always = {a.name for a in system.alerts if a.always}
    records = [alert_record(e, evidence) for e in expected]
    for firing in firings(evidence):
        if any(_matches(e, firing.name, firing.labels) for e in expected):
            continue
        kind = (
            "always" if firing.name in always else "allowed" if firing.name in allowed else "silent"
        )
        records.append(
            AlertRecord(firing.name, firing.labels, kind, firing.fired_s, firing.resolved_s, None)
        )
    named = {r.name for r in records}
    for alert in system.alerts:
        if alert.name not in named:
            kind = "always" if alert.always else "allowed" if alert.name in allowed else "silent"
            records.append(AlertRecord(alert.name, {}, kind, None, None, None))
    return tuple(records)


def _matches(expectation: AlertFires, name: str, labels: dict[str, str]) -> bool:
    return name == expectation.alert and all(labels.get(k) == v for k, v in expectation.labels)


def _key(name: str, labels: dict[str, str]) -> str:
    return name + _labels({k: v for k, v in labels.items() if k != "alertname"})


def _labels(labels: dict[str, str]) -> str:
    inner = ", ".join(
        f"{k}={v}" for k, v in sorted(labels.items()) if k not in {"alertname", "severity"}
    )
    return f"{{{inner}}}" if inner else ""


def _title(expectation: AlertFires) -> str:
    return f"{expectation.alert}{_labels(dict(expectation.labels))} fires and resolves"


def _finding(
    expectation: AlertFires, name: str, verdict: Verdict, measured: float | None, sentence: str
) -> Finding:
    return Finding(
        "alert", name, expectation.phase, verdict, measured, expectation.within_s, "s", sentence
    )
