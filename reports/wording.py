"""Numbers, units and sentences as people read them, alike in every rendering."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaos.errors import ChaosError
from chaos.model.faults import fault_from_json
from chaos.model.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model.run import RunResult
    from chaos.model.verdict import Finding

NONE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
GLYPHS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", "ERROR": "!"}
GUARDS = ("honesty", "witness")
KINDS = (
    "harness",
    "check",
    "invariant",
    "slo",
    "answers",
    "degradation",
    "liveness",
    "recovery",
    "alert",
    "witness",
    "honesty",
)
KIND_TITLES = {
    "invariant": "Invariants",
    "slo": "Service level objectives",
    "answers": "Answers, by who asked",
    "degradation": "Degradation",
    "liveness": "Responsiveness of the process itself",
    "recovery": "Recovery",
    "alert": "Alerts",
    "witness": "Witness: the fault was real",
    "harness": "The harness itself",
    "check": "Checks that crashed",
    "honesty": "Honesty: the measurement was sound",
}
_COMMON_LABELS = frozenset({"alertname", "environment", "instance", "job", "service", "severity"})
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MS_PER_S = 1_000.0
_MINUTE_S = 60.0


def clean(text: object) -> str:
    """Return `text` with U+FFFD for what XML and HTML may not hold, like control characters."""
    return _UNREADABLE.sub("\ufffd", str(text))


def short(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, an ellipsis at its end when it was longer."""
    return text if len(text) <= limit else text[: max(1, limit - 1)].rstrip() + "…"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits and no exponent: 12345.6 -> 12,346."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) or abs(value) >= 10**digits:
        return f"{round(value):,}"
    places = min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(fraction: float | None) -> str:
    """Write a fraction of 0..1: 0.00123 -> "0.123 %"."""
    return NONE if fraction is None else f"{number(fraction * 100)} %"


def millis(value_ms: float | None) -> str:
    """Write milliseconds; an infinite value means that no answer came."""
    if value_ms is None or math.isnan(value_ms):
        return NONE
    if math.isinf(value_ms):
        return "no answer"
    return f"{number(value_ms)} ms" if value_ms < _MS_PER_S else f"{value_ms / _MS_PER_S:.2f} s"


def seconds(value_s: float | None) -> str:
    """Write a time or a duration in seconds with two digits, or in minutes when it is long."""
    if value_s is None or not math.isfinite(value_s):
        return NONE
    if abs(value_s) < 10 * _MINUTE_S:
        return f"{value_s:.2f} s"
    whole = round(abs(value_s))
    return f"{'-' if value_s < 0 else ''}{whole // 60} min {whole % 60:02d} s"


def amount(value: float | None, unit: str) -> str:
    """Write a finding's number in its unit: fractions as percent, ratios as a factor."""
    if value is None:
        return NONE
    if {"fraction", "share"} & set(unit.split()):
        return percent(value)
    if unit == "ratio":
        return f"{number(value)} {TIMES}"
    if unit == "s" or unit.startswith("s "):
        return f"{number(value)} s" if value == int(value) else seconds(value)
    return f"{number(value)} {unit}".strip()


def moment(started_at: str) -> str:
    """Write an ISO time as UTC to the second; what is no ISO time is returned as it is."""
    try:
        at = datetime.fromisoformat(started_at)
    except ValueError:
        return started_at
    return (
        (at if at.tzinfo else at.replace(tzinfo=UTC))
        .astimezone(UTC)
        .strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def telling_labels(labels: Mapping[str, Any]) -> str:
    """Write, as PromQL does, the labels that tell one series of an alert from another."""
    told = {k: v for k, v in labels.items() if k not in _COMMON_LABELS and v != "none"}
    return "{" + ", ".join(f'{k}="{v}"' for k, v in sorted(told.items())) + "}" if told else ""


def fault_text(fault: Mapping[str, Any]) -> str:
    """Say what a fault does, also when this version does not know its kind."""
    try:
        return fault_from_json(dict(fault)).sentence
    except (ChaosError, TypeError, AttributeError):
        rest = ", ".join(f"{k}={v}" for k, v in fault.items() if k not in {"kind", "target"})
        text = f"{fault.get('kind', 'fault')} {fault.get('target', '')}".strip()
        return f"{text} ({rest})" if rest else text


def witness_text(witness: Mapping[str, Any]) -> str:
    """Write the numbers of a witness; that it saw nothing comes first."""
    numbers = [
        f"{k.replace('_', ' ')} {number(v) if isinstance(v, (int, float)) else v}"
        for k, v in witness.items()
        if k != "touched"
    ]
    return ", ".join([*([] if witness.get("touched") else ["touched nothing"]), *numbers])


def place(finding: Finding) -> str:
    """Say which part of the run a finding speaks of."""
    return "over the run" if finding.phase == "run" else f"in {finding.phase}"


def by_kind(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """Group findings under the title of their kind; the worst findings first in each group."""
    worst = ("ERROR", "FAIL", "INCONCLUSIVE", "PASS")
    kinds = dict.fromkeys((*KINDS, *(f.kind for f in findings)))
    groups = ((k, [f for f in findings if f.kind == k]) for k in kinds)
    return [
        (
            KIND_TITLES.get(kind, kind.capitalize()),
            sorted(of, key=lambda f: worst.index(f.verdict.value)),
        )
        for kind, of in groups
        if of
    ]


def deciding(result: RunResult) -> list[Finding]:
    """Return the findings that made the verdict; for PASS those that prove the claim itself."""
    rank = {k: n for n, k in enumerate(KINDS)}
    findings = sorted(result.findings, key=lambda f: rank.get(f.kind, len(KINDS)))
    if result.verdict is Verdict.PASS:
        return [f for f in findings if f.kind not in GUARDS]
    if result.verdict is Verdict.INCONCLUSIVE:
        guards = [f for f in findings if f.kind in GUARDS and f.verdict is not Verdict.PASS]
        return guards or [f for f in findings if f.verdict is Verdict.INCONCLUSIVE]
    return [f for f in findings if f.verdict is result.verdict]


def tally(result: RunResult) -> str:
    """Say in one sentence what the verdict rests on."""
    total = len(result.findings)
    those = len(deciding(result))
    if result.verdict is Verdict.PASS:
        return f"All {total} expectations held."
    if result.verdict is Verdict.FAIL:
        return f"{those} of {total} expectations broken."
    if result.verdict is Verdict.INCONCLUSIVE:
        if not total:
            return "Nothing was judged, so nothing is proved."
        return f"{those} of {total} findings could not be decided, so the run proves nothing."
    return "The harness failed, so the system was not judged."


def total_s(result: RunResult) -> float:
    """Return how long the run took; the sum of its parts until the whole is known."""
    return result.timings.get("total_s", sum(result.timings.values()))


def verdict_sentence(result: RunResult) -> str:
    """Say the verdict with the number, the limit and the interval that decided it."""
    if result.problem:
        return result.problem
    first = next(iter(deciding(result)), None)
    if first is None:
        return ""
    return f"{first.name}, {place(first)}: {first.sentence}"
