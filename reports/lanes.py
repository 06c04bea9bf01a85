"""Faults, alerts and breakers as bars on the time line: in which state from when to when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reports.wording import fault_text, seconds, telling_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chaos.model.evidence import AlertEvent, Evidence
    from chaos.model.run import AlertRecord, InjectionRecord, RunResult

State = Literal["pending", "firing", "always", "open", "half_open", "fault", "asked"]
MAX_LANES = 14


@dataclass(frozen=True, slots=True)
class Bar:
    """A state that held from `start_s` to `end_s`."""

    state: State
    start_s: float
    end_s: float
    label: str = ""
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant: a delivery of a firing ("firing") or of a resolved ("resolved") alert."""

    status: str
    t_s: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of the time line."""

    name: str
    detail: str
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The rows of one group and, in words, those left out because nothing happened on them."""

    rows: tuple[Lane, ...]
    rest: str = ""


def fault_lanes(injections: Sequence[InjectionRecord], end_s: float) -> Lanes:
    """One row a fault: asked to confirmed as a thin lead, then in force until healed."""
    rows = []
    for injection in injections[:MAX_LANES]:
        words = fault_text(injection.fault)
        healed = injection.healed_s
        stop = end_s if healed is None else healed
        confirmed = injection.confirmed_s
        heal_words = f"healed at {seconds(healed)}" if healed is not None else "never healed"
        bars = []
        if confirmed is None:
            bars.append(
                Bar(
                    "asked",
                    injection.asked_s,
                    stop,
                    "not confirmed",
                    f"{words}: asked, never confirmed",
                )
            )
        else:
            if confirmed > injection.asked_s:
                bars.append(Bar("asked", injection.asked_s, confirmed))
            tip = f"{words}: confirmed at {seconds(confirmed)}, {heal_words}"
            bars.append(
                Bar(
                    "fault",
                    confirmed,
                    stop,
                    words if healed is not None else f"{words}, {heal_words}",
                    tip,
                )
            )
        rows.append(Lane(injection.target, "", tuple(bars)))
    return Lanes(tuple(rows), _more(len(injections)))


def alert_lanes(evidence: Evidence, result: RunResult, end_s: float) -> Lanes:
    """One row an alert that was ever pending or firing, those that were expected to fire first."""
    source = (
        "prometheus"
        if any(e.source == "prometheus" for e in evidence.alert_events)
        else "alertmanager"
    )
    events = [e for e in evidence.alert_events if e.source == source]
    series: dict[tuple[str, str], list[AlertEvent]] = {}
    for event in events:
        series.setdefault((event.name, telling_labels(event.labels)), []).append(event)
    rank = {"fires": 0, "silent": 1, "allowed": 2, "always": 3}
    rows = []
    for (name, detail), seen in series.items():
        wanted = _expected(name, seen[0].labels, result.alerts)
        expected = wanted.expected if wanted else "silent"
        marks = tuple(
            Mark(d.status, d.t_s)
            for d in evidence.deliveries
            if expected != "always" and d.name == name and telling_labels(d.labels) == detail
        )
        note = (
            "unexpected" if expected == "silent" and any(e.state == "firing" for e in seen) else ""
        )
        bars = _alert_bars(seen, end_s, "always" if expected == "always" else "firing")
        rows.append((rank.get(expected, 1), Lane(name, detail, bars, marks, note)))
    rows.sort(
        key=lambda pair: (
            pair[0],
            pair[1].bars[0].start_s if pair[1].bars else end_s,
            pair[1].name,
        )
    )
    shown = tuple(lane for _, lane in rows if lane.bars)[:MAX_LANES]
    silent = sum(1 for r in result.alerts if r.name not in {lane.name for lane in shown})
    return Lanes(shown, f"{silent} more alerts stayed silent" if silent else _more(len(rows)))


def breaker_lanes(evidence: Evidence, end_s: float) -> Lanes:
    """One row a breaker that left the closed state, by the samples or else by its log events."""
    changes = _from_samples(evidence) or _from_logs(evidence)
    rows = []
    closed = []
    for name in sorted(changes):
        bars = _breaker_bars(sorted(changes[name]), end_s)
        if bars:
            rows.append(Lane(name, "", bars))
        else:
            closed.append(name)
    return Lanes(
        tuple(rows[:MAX_LANES]),
        f"closed throughout: {', '.join(closed)}" if closed else "",
    )


def _alert_bars(
    events: Sequence[AlertEvent], end_s: float, firing: Literal["firing", "always"]
) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    state: State | None = None
    since = 0.0
    for event in sorted(events, key=lambda e: e.t_s):
        new: State | None = {"pending": "pending", "firing": firing}.get(event.state)
        if new == state:
            continue
        if state is not None:
            bars.append(_bar(state, since, event.t_s))
        state = new
        since = event.t_s
    if state is not None:
        bars.append(_bar(state, since, end_s))
    return tuple(bars)


def _breaker_bars(changes: Sequence[tuple[float, str]], end_s: float) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    state, since = "closed", 0.0
    for t_s, new in [*changes, (end_s, "")]:
        if new == state:
            continue
        if state in {"open", "half_open"}:
            bars.append(_bar("open" if state == "open" else "half_open", since, t_s))
        state, since = new, t_s
    return tuple(bars)


def _bar(state: State, start_s: float, end_s: float) -> Bar:
    words = (
        "always on: proves that alerts get through"
        if state == "always"
        else state.replace("_", "-")
    )
    # A hatched bar is told by its pattern; a label on it would hide just that.
    label = "" if state in {"pending", "half_open"} else words
    return Bar(state, start_s, end_s, label, f"{words} from {seconds(start_s)} to {seconds(end_s)}")


def _from_samples(evidence: Evidence) -> dict[str, list[tuple[float, str]]]:
    rows = evidence.series("app_breaker_state")
    rows = rows[rows["value"] == 1]
    changes: dict[str, list[tuple[float, str]]] = {}
    known: dict[str, tuple[str, str]] = {}
    for raw, t_s in zip(rows["labels"], rows["t_s"], strict=True):
        if raw not in known:
            known[raw] = _breaker_labels(raw)
        name, state = known[raw]
        seen = changes.setdefault(name, [])
        if not seen or seen[-1][1] != state:
            seen.append((float(t_s), state))
    return changes


def _breaker_labels(raw: str) -> tuple[str, str]:
    try:
        labels = json.loads(raw)
        return str(labels.get("name", "?")), str(labels.get("state", "closed"))
    except (ValueError, AttributeError):
        return "?", "closed"


def _from_logs(evidence: Evidence) -> dict[str, list[tuple[float, str]]]:
    changes: dict[str, list[tuple[float, str]]] = {}
    for event in evidence.log_events:
        if event.event.startswith("breaker_") and "breaker" in event.fields:
            state = event.event.removeprefix("breaker_")
            changes.setdefault(str(event.fields["breaker"]), []).append((event.t_s, state))
    return changes


def _expected(
    name: str, labels: Mapping[str, Any], records: Iterable[AlertRecord]
) -> AlertRecord | None:
    """Return the record that speaks of this series: the one with the most labels that all fit."""
    fitting = [r for r in records if r.name == name and r.labels.items() <= labels.items()]
    return max(fitting, key=lambda r: len(r.labels), default=None)


def _more(count: int) -> str:
    return f"{count - MAX_LANES} more are not drawn" if count > MAX_LANES else ""
