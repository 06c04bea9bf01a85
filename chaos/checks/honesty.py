"""Whether the evidence itself can be trusted: every arrival accounted for, generator, monitoring and start sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.checks.common import percent
from chaos.model.evidence import ARRIVAL_CLASSES
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence
    from chaos.model.scenario import System

MAX_SEND_LAG_P99_MS = 50.0
"""10 % of the 500 ms latency SLO; past it a generator measures itself."""
MAX_GENERATOR_CPU = 0.9
MIN_SCRAPE_SHARE = 0.9
HELD = ("kill", "pause")
"""Faults during which the process itself cannot be scraped."""
START_S = 3.0
"""How long a component that was killed may be without an answer after its heal."""
MAX_OTHERS_CPU = 0.1
MIN_IDLE_CPU = 0.2
"""Others may use what the run leaves over; when they and the run fill the machine, latencies are the neighbours'."""
MAX_VIEW_GAP = 0.005
"""Client and server may differ by answers that were under way when a window was cut."""


def honesty(evidence: Evidence, system: System) -> list[Finding]:
    """Return every honesty finding; each one that is not PASS makes the run at best INCONCLUSIVE."""
    return [
        _accounted(evidence),
        _generator(evidence),
        _monitoring(evidence, system),
        _views_agree(evidence),
        *_machine(evidence),
        _clean(evidence, "start"),
        _clean(evidence, "end"),
    ]


def honesty_box(evidence: Evidence) -> dict[str, Any]:
    """Return the numbers of `run.json`'s `honesty`."""
    counts = class_counts(evidence)
    facts = evidence.generator
    return {
        "send_lag_p50_ms": facts.get("send_lag_p50_ms"),
        "send_lag_p99_ms": facts.get("send_lag_p99_ms"),
        "generator_cpu": facts.get("generator_cpu"),
        "others_cpu": evidence.invariants.get("machine", {}).get("others_share"),
        "intended": evidence.plan.intended,
        "dropped": counts["dropped"],
        "censored": counts["censored"],
        "unaccounted": _unaccounted(evidence),
        "scrapes": _scrape_shares(evidence),
        "rule_iterations_missed": evidence.monitoring.get("iterations_missed"),
        "poll_errors": evidence.monitoring.get("poll_errors"),
    }


def class_counts(evidence: Evidence) -> dict[str, int]:
    """Count the arrivals of each class, zeros included."""
    counts = evidence.arrivals["class"].value_counts()
    return {name: int(counts.get(name, 0)) for name in ARRIVAL_CLASSES}


def _unaccounted(evidence: Evidence) -> int:
    rows = evidence.arrivals
    known = rows[rows["class"].isin(ARRIVAL_CLASSES)]["n"].nunique() if len(rows) else 0
    return max(evidence.plan.intended - known, 0) + (len(rows) - known)


def _finding(
    name: str, sentence: str, *, good: bool, measured: float | None, limit: float | None, unit: str
) -> Finding:
    verdict = Verdict.PASS if good else Verdict.INCONCLUSIVE
    return Finding("honesty", name, "run", verdict, measured, limit, unit, sentence)


def _accounted(evidence: Evidence) -> Finding:
    counts = class_counts(evidence)
    intended, lost = evidence.plan.intended, _unaccounted(evidence)
    classes = ", ".join(f"{counts[c]} {c}" for c in ARRIVAL_CLASSES if counts[c])
    if intended == 0:
        text = "the plan intended no arrival at all, so nothing was proved"
    else:
        text = f"{intended} intended: {classes or 'none recorded'}; {lost} unaccounted"
    good = intended > 0 and lost == 0 and counts["dropped"] == 0
    return _finding(
        "every arrival accounted for", text, good=good, measured=lost, limit=0, unit="arrivals"
    )


def _generator(evidence: Evidence) -> Finding:
    facts = evidence.generator
    name = "generator kept its schedule"
    lag, cpu = facts.get("send_lag_p99_ms"), facts.get("generator_cpu")
    if lag is None or cpu is None:
        text = (
            "the generator had nothing to send"
            if facts
            else "the generator left no report: it did not start or was killed"
        )
        return _finding(name, text, good=False, measured=None, limit=MAX_SEND_LAG_P99_MS, unit="ms")
    good = lag <= MAX_SEND_LAG_P99_MS and cpu <= MAX_GENERATOR_CPU and bool(facts.get("finished"))
    text = (
        f"send lag p99 {lag:.1f} ms (limit {MAX_SEND_LAG_P99_MS:g} ms), {cpu * 100:.0f} % of one core"
        + ("" if facts.get("finished") else "; it did not finish its schedule")
    )
    return _finding(name, text, good=good, measured=lag, limit=MAX_SEND_LAG_P99_MS, unit="ms")


def _monitoring(evidence: Evidence, system: System) -> Finding:
    facts, shares = evidence.monitoring, _scrape_shares(evidence)
    problems: list[str] = []
    if not facts.get("alive"):
        problems.append("Prometheus did not answer at the end")
    else:
        missing = sorted({a.name for a in system.alerts} - set(facts.get("rules_loaded", ())))
        if missing:
            problems.append(f"rules not loaded: {', '.join(missing)}")
        if facts.get("iterations_missed"):
            problems.append(f"{facts['iterations_missed']:g} rule evaluations missed")
        if facts.get("evaluation_failures"):
            problems.append(f"{facts['evaluation_failures']:g} rule evaluations failed")
        if not facts.get("watchdog_delivered"):
            problems.append("the Watchdog was not delivered, so no alert could have been")
        low = [
            f"{job} {share * 100:.0f} %"
            for job, share in shares.items()
            if share < MIN_SCRAPE_SHARE - _held_share(evidence, job)
        ]
        if not shares:
            problems.append("no scrape was counted")
        elif low:
            problems.append(f"scrapes missing: {', '.join(low)}")
    share = min(shares.values(), default=None)
    text = "; ".join(problems) or (
        f"{len(facts['rules_loaded'])} rules evaluated without a gap, Watchdog delivered, "
        f"at least {(share or 0) * 100:.0f} % of scrapes"
    )
    return _finding(
        "monitoring was alive",
        text,
        good=not problems,
        measured=share,
        limit=MIN_SCRAPE_SHARE,
        unit="scrape share",
    )


def _scrape_shares(evidence: Evidence) -> dict[str, float]:
    """Return, by job, which share of the expected scrapes succeeded."""
    facts = evidence.monitoring
    expected = facts.get("scrapes_expected", {})
    failed = facts.get("scrapes_failed", {})
    return {
        job: (seen - failed.get(job, 0)) / expected[job]
        for job, seen in facts.get("scrapes_seen", {}).items()
        if expected.get(job)
    }


def _held_share(evidence: Evidence, job: str) -> float:
    """Return for which part of the run a fault kept the component of a scrape job from answering.

    A job is called like its component. What a fault takes away on purpose is no gap in the evidence.
    """
    _, end_s = evidence.plan.window(evidence.plan.phases[-1].name)
    held_s = sum(
        i.healed_s - i.confirmed_s + START_S
        for i in evidence.injections
        if i.target == job
        and i.fault.get("kind") in HELD
        and i.confirmed_s is not None
        and i.healed_s is not None
    )
    return min(1.0, held_s / end_s) if end_s > 0 else 0.0


def _views_agree(evidence: Evidence) -> Finding:
    """Compare the server's count of answers by outcome with the client's (promise 5)."""
    name = "client and server agree"
    views = evidence.monitoring.get("server_outcomes") or {}
    if not views:
        text = "the server's own counts were not read at the end"
        return _finding(
            name, text, good=False, measured=None, limit=MAX_VIEW_GAP, unit="fraction apart"
        )
    counts = class_counts(evidence)
    total = max(1, sum(counts.values()))
    lost = counts["timeout"] + counts["censored"] + counts["error"]
    gaps = {
        "ok": abs(views.get("ok", 0) - counts["ok"]),
        "degraded": abs(views.get("degraded", 0) - counts["degraded"]),
    }
    allowed = MAX_VIEW_GAP * total + lost
    worst = max(gaps.values())
    text = (
        f"ok {counts['ok']} by the client, {views.get('ok', 0):.0f} by the server; degraded {counts['degraded']} and "
        f"{views.get('degraded', 0):.0f}; error {counts['error']} and {views.get('error', 0):.0f}"
    )
    return _finding(
        name,
        text,
        good=worst <= allowed,
        measured=worst / total,
        limit=allowed / total,
        unit="fraction apart",
    )


def _machine(evidence: Evidence) -> list[Finding]:
    """Judge that others left the machine to the run; where that cannot be measured there is no finding."""
    facts = evidence.invariants.get("machine")
    if not facts:
        return []
    others, ours = float(facts["others_share"]), float(facts["ours_share"])
    idle = max(0.0, 1.0 - others - ours)
    text = (
        f"of {facts['cores']} cores the run used {percent(ours)}, others {percent(others)}; "
        f"{percent(idle)} was idle (expected {percent(MIN_IDLE_CPU)}, or others under "
        f"{percent(MAX_OTHERS_CPU)})"
    )
    finding = _finding(
        "the machine was free",
        text,
        good=others <= MAX_OTHERS_CPU or idle >= MIN_IDLE_CPU,
        measured=idle,
        limit=MIN_IDLE_CPU,
        unit="idle share",
    )
    return [finding]


def _clean(evidence: Evidence, moment: str) -> Finding:
    residue = evidence.invariants.get(f"residue_{moment}")
    name = f"clean {moment}"
    if residue is None:
        text = f"the state of the stack at the {moment} was not read"
        return _finding(name, text, good=False, measured=None, limit=0, unit="leftovers")
    text = "; ".join(residue) or "no toxic, no disabled route, nothing paused, nothing missing"
    return _finding(name, text, good=not residue, measured=len(residue), limit=0, unit="leftovers")
