"""The time line: phases, faults, arrivals, latency, alerts, breakers over a shared x axis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chaos.model.evidence import BAD_CLASSES
from reports.lanes import alert_lanes, breaker_lanes, fault_lanes
from reports.svg import (
    Scale,
    boxes,
    curve,
    join,
    line,
    rect,
    tag,
    text,
    ticks,
    width_of,
)
from reports.wording import NONE, millis, number, seconds, short

if TYPE_CHECKING:
    from markupsafe import Markup

    from chaos.model.evidence import Evidence
    from chaos.model.run import InjectionRecord, Plan, RunResult
    from reports.figures import Bins
    from reports.lanes import Bar, Lane, Lanes

LATENCY_LINE_MS = 500.0
"""The latency that degraded answers must keep, drawn across the latency panel."""

WIDTH = 1120.0
LEFT = 172.0
RIGHT = 14.0
HEADER = 26.0
LANE = 22.0
TALL_LANE = 32.0
HEADING = 24.0
ARRIVALS = 128.0
LATENCY = 176.0
SILENT = 16.0
GAP = 14.0
AXIS = 34.0
_LABEL_LETTERS = 26
_TAIL_S = 1.0


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a part may draw: the shared x scale and its own top edge."""

    x: Scale
    top: float


def timeline(evidence: Evidence, result: RunResult, bins: Bins) -> Markup:
    """Return the whole picture as one SVG element."""
    end = _end(evidence, bins)
    frame = Frame(Scale(0.0, end, LEFT, WIDTH - RIGHT), 0.0)
    injections = evidence.injections or result.injections
    parts = [_phase_header(frame, evidence.plan)]
    top = HEADER + 6
    groups = (
        ("Faults", fault_lanes(injections, end)),
        ("", None),
        ("Alerts", alert_lanes(evidence, result, end)),
        ("Breakers", breaker_lanes(evidence, end)),
    )
    for title, lanes in groups:
        here = replace(frame, top=top)
        if lanes is None:
            drawn, bottom = _panels(here, bins)
        else:
            drawn, bottom = _lane_group(here, title, lanes)
        parts.append(drawn)
        top = bottom + (GAP if drawn else 0)
    shade = _shades(frame, injections, evidence.plan, top, end)
    axis = _axis(replace(frame, top=top), end)
    height = top + AXIS
    head = (
        tag("title", f"Time line of {result.scenario}", id="tl-title"),
        tag("desc", _description(evidence, injections, bins), id="tl-desc"),
    )
    return tag(
        "svg",
        join([*head, shade, *parts, axis]),
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        class_="timeline",
        role="img",
        aria_labelledby="tl-title tl-desc",
    )


def _end(evidence: Evidence, bins: Bins) -> float:
    """Where the picture ends: at the plan's end, or just after the last event if that is later."""
    last = float(bins.start_s[-1] + bins.width_s) if len(bins.start_s) else 1.0
    events = [e.t_s for e in evidence.alert_events] + [d.t_s for d in evidence.deliveries]
    healed = [i.healed_s for i in evidence.injections if i.healed_s is not None]
    late = max(events + healed, default=0.0)
    return max(last, min(late + _TAIL_S, 2 * last) if late > last else 0.0)


def _phase_header(frame: Frame, plan: Plan) -> Markup:
    parts = []
    for n, phase in enumerate(plan.phases):
        left, right = frame.x(phase.start_s), frame.x(phase.end_s)
        parts.append(rect(left, 0, right - left, HEADER - 4, "phase" if n % 2 else "phase alt", ""))
        long = f"{phase.name} · {number(phase.end_s - phase.start_s)} s"
        words = (
            long
            if width_of(long) < right - left
            else short(phase.name, max(1, int((right - left) / 7)))
        )
        parts.append(text((left + right) / 2, 15, words, "phase-name"))
    return join(parts)


def _shades(
    frame: Frame,
    injections: tuple[InjectionRecord, ...],
    plan: Plan,
    bottom: float,
    end: float,
) -> Markup:
    parts = []
    for injection in injections:
        if injection.confirmed_s is not None:
            left = frame.x(injection.confirmed_s)
            right = frame.x(end if injection.healed_s is None else injection.healed_s)
            parts.append(rect(left, HEADER, right - left, bottom - HEADER, "shade"))
            parts.extend(line(x, HEADER, x, bottom, "edge") for x in (left, right))
    parts.extend(
        line(frame.x(p.end_s), HEADER, frame.x(p.end_s), bottom, "phase-end") for p in plan.phases
    )
    return join(parts)


def _lane_group(frame: Frame, title: str, lanes: Lanes) -> tuple[Markup, float]:
    if not lanes.rows and not lanes.rest:
        return join([]), frame.top
    parts = [text(0, frame.top + 12, title, "group")]
    if lanes.rest:
        parts.append(text(LEFT + 4, frame.top + 12, short(lanes.rest, 150), "note"))
    top = frame.top + HEADING
    for lane in lanes.rows:
        height = TALL_LANE if lane.detail else LANE
        parts.append(_lane(replace(frame, top=top), lane, height))
        top += height
    return join(parts), top


def _lane(frame: Frame, lane: Lane, height: float) -> Markup:
    middle = frame.top + height / 2
    parts = [
        line(LEFT, middle, WIDTH - RIGHT, middle, "rail"),
        text(
            LEFT - 10,
            middle + (-2 if lane.detail else 4),
            short(lane.name, _LABEL_LETTERS),
            "lane-name",
        ),
    ]
    if lane.detail:
        parts.append(text(LEFT - 10, middle + 10, short(lane.detail, 30), "lane-detail"))
    parts.extend(_bar(frame, bar, middle) for bar in lane.bars)
    for mark in lane.marks:
        x = frame.x(mark.t_s)
        shape = f"M{x - 4:.1f} {middle - 11:.1f}h8l-4 6z" if mark.status == "firing" else ""
        shape = shape or f"M{x - 4:.1f} {middle + 11:.1f}h8l-4 -6z"
        tip = tag("title", f"webhook delivered {mark.status} at {seconds(mark.t_s)}")
        parts.append(tag("path", tip, d=shape, class_=f"mark {mark.status}"))
    if lane.note:
        last = max((frame.x(b.end_s) for b in lane.bars), default=LEFT)
        parts.append(
            text(
                min(last + 6, WIDTH - RIGHT - width_of(lane.note)),
                middle + 4,
                lane.note,
                "warn",
            )
        )
    return join(parts)


def _bar(frame: Frame, bar: Bar, middle: float) -> Markup:
    left, right = frame.x(bar.start_s), frame.x(bar.end_s)
    width = max(right - left, 1.5)
    half = 2.5 if bar.state == "asked" else 7.0
    parts = [rect(left, middle - half, width, 2 * half, f"bar {bar.state}", bar.tip)]
    if bar.label and width_of(bar.label) + 8 < width:
        parts.append(text(left + 6, middle + 4, bar.label, f"bar-label on-{bar.state}"))
    elif bar.state in {"fault", "asked"} and bar.label:
        after = right + 6 + width_of(bar.label) < WIDTH - RIGHT
        where = right + 6 if after else max(LEFT, left - 6 - width_of(bar.label))
        parts.append(text(where, middle + 4, bar.label, "bar-label"))
    return join(parts)


def _panels(frame: Frame, bins: Bins) -> tuple[Markup, float]:
    """Draw arrivals above latency, and a clear column a bin that tells its numbers on hover."""
    if not bins.total.sum():
        words = "No arrivals were recorded: there is no load and no latency to show."
        parts = [
            text(0, frame.top + 12, "Arrivals", "group"),
            text(LEFT + 4, frame.top + 40, words, "empty"),
        ]
        return join(parts), frame.top + 64
    low = frame.top + ARRIVALS + GAP + 8
    bottom = low + SILENT + LATENCY
    parts = [_arrivals(frame, bins), _latency(replace(frame, top=low), bins)]
    for n, start in enumerate(bins.start_s):
        left, right = frame.x(float(start)), frame.x(float(start) + bins.width_s)
        parts.append(
            rect(
                left,
                frame.top,
                right - left,
                bottom - frame.top,
                "hover",
                _tip(bins, n),
            )
        )
    return join(parts), bottom + 4


def _arrivals(frame: Frame, bins: Bins) -> Markup:
    bottom = frame.top + ARRIVALS
    high = max(1, int(bins.total.max()))
    y = Scale(0.0, high * 1.06, bottom, frame.top)
    parts = [
        text(0, frame.top + 12, "Arrivals", "group"),
        text(0, frame.top + 27, f"in each {number(bins.width_s)} s, by due time", "sub"),
    ]
    for value in ticks(0.0, high, 4):
        parts.append(
            line(
                LEFT,
                y(value),
                WIDTH - RIGHT,
                y(value),
                "base" if value == 0 else "grid",
            )
        )
        parts.append(text(LEFT - 8, y(value) + 4, number(value), "tick"))
    bad = np.asarray(sum(bins.counts[c] for c in BAD_CLASSES))
    under = np.zeros(len(bins.start_s))
    stack = (
        ("ok", bins.counts["ok"]),
        ("degraded", bins.counts["degraded"]),
        ("bad", bad),
    )
    for cls, counts in stack:
        items = []
        for start, base, count in zip(bins.start_s, under, counts, strict=True):
            left, right = frame.x(float(start)), frame.x(float(start) + bins.width_s)
            top = y(float(base + count))
            items.append((left + 0.5, top, max(right - left - 1, 0.8), y(float(base)) - top))
        parts.append(boxes(items, f"stack {cls}"))
        under = under + counts
    return join(parts)


def _latency(frame: Frame, bins: Bins) -> Markup:
    top, bottom = frame.top + SILENT + 8, frame.top + SILENT + LATENCY
    known = np.concatenate([v[np.isfinite(v)] for v in bins.quantiles_ms.values()])
    least, most = (float(known.min()), float(known.max())) if len(known) else (1.0, LATENCY_LINE_MS)
    low = 10.0 ** np.floor(np.log10(max(least, 0.1)))
    high = 10.0 ** np.ceil(np.log10(max(most, LATENCY_LINE_MS * 2)))
    y = Scale(float(low), float(high), bottom, top, log=True)
    parts = [
        text(0, frame.top + 12, "Latency", "group"),
        text(0, frame.top + 27, "from the intended arrival,", "sub"),
        text(0, frame.top + 40, "log scale", "sub"),
    ]
    value = float(low)
    while value <= high * 1.001:
        parts.append(
            line(
                LEFT,
                y(value),
                WIDTH - RIGHT,
                y(value),
                "base" if value == low else "grid",
            )
        )
        parts.append(text(LEFT - 8, y(value) + 4, _round_ms(value), "tick"))
        value *= 10
    limit = y(LATENCY_LINE_MS)
    parts += [
        line(LEFT, limit, WIDTH - RIGHT, limit, "limit"),
        text(LEFT + 4, limit - 4, f"limit {millis(LATENCY_LINE_MS)}", "limit-name"),
    ]
    silent = frame.top + SILENT / 2
    if any(np.isinf(v).any() for v in bins.quantiles_ms.values()):
        parts.append(line(LEFT, silent, WIDTH - RIGHT, silent, "rail"))
        parts.append(text(LEFT - 8, silent + 4, "no answer", "tick"))
    for q, cls in ((0.5, "p50"), (0.99, "p99"), (0.95, "p95")):
        points: list[tuple[float, float] | None] = [
            None
            if np.isnan(v)
            else (
                frame.x(float(start) + bins.width_s / 2),
                silent if np.isinf(v) else y(float(v)),
            )
            for start, v in zip(bins.start_s, bins.quantiles_ms[q], strict=True)
        ]
        parts.append(curve(points, f"curve {cls}"))
    return join(parts)


def _round_ms(value_ms: float) -> str:
    """Write a power of ten of milliseconds in the unit that keeps it short."""
    in_seconds = value_ms / 1_000
    return f"{number(in_seconds)} s" if in_seconds >= 1 else f"{number(value_ms)} ms"


def _tip(bins: Bins, n: int) -> str:
    start = float(bins.start_s[n])
    counts = [f"{int(of[n])} {name}" for name, of in bins.counts.items() if of[n]]
    if not counts:
        return f"{number(start)}{NONE}{number(start + bins.width_s)} s: no arrivals"
    speeds = ", ".join(
        f"p{q * 100:.0f} {millis(float(v[n]))}" for q, v in bins.quantiles_ms.items()
    )
    return f"{number(start)}{NONE}{number(start + bins.width_s)} s: {', '.join(counts)}\n{speeds}"


def _axis(frame: Frame, end: float) -> Markup:
    parts = [line(LEFT, frame.top, WIDTH - RIGHT, frame.top, "base")]
    for value in ticks(0.0, end, 12):
        x = frame.x(value)
        parts += [
            line(x, frame.top, x, frame.top + 4, "base"),
            text(x, frame.top + 17, number(value), "tick mid"),
        ]
    parts.append(text(LEFT - 8, frame.top + 17, "seconds", "tick"))
    return join(parts)


def _description(evidence: Evidence, injections: tuple[InjectionRecord, ...], bins: Bins) -> str:
    phases = ", ".join(
        f"{p.name} from {number(p.start_s)} to {number(p.end_s)} s" for p in evidence.plan.phases
    )
    faults = ", ".join(
        f"{i.target} from {seconds(i.confirmed_s)} to {seconds(i.healed_s)}" for i in injections
    )
    totals = {name: int(of.sum()) for name, of in bins.counts.items()}
    arrivals = ", ".join(f"{count} {name}" for name, count in totals.items() if count) or "none"
    return f"Phases: {phases or 'not planned'}. Faults: {faults or 'none'}. Arrivals: {arrivals}."
