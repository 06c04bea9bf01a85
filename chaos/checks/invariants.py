"""Whether what was promised to clients is there after all: acknowledged writes against the final reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.model.invariants import Facts
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence
    from chaos.model.expectations import InvariantHolds
    from chaos.model.invariants import Invariant
    from chaos.model.reads import Row
    from chaos.model.scenario import System

SHOWN = 5


def invariant_holds(expectation: InvariantHolds, evidence: Evidence, system: System) -> Finding:
    """Judge an invariant. One violation is a FAIL even among few writes; few without one prove nothing.

    INCONCLUSIVE when a final read is missing, or when fewer writes than `min_count` were acknowledged.
    """
    invariant = system.invariant(expectation.name)
    missing = _missing(invariant, evidence, system)
    if missing:
        text = f"{invariant.promise}: cannot be told, for {'; '.join(missing)}"
        return _finding(expectation, Verdict.INCONCLUSIVE, None, text)
    judgement = invariant.judge(_facts(evidence))
    wrong = judgement.violations
    text = f"{invariant.promise}: {judgement.sentence}"
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        text += f"; broken by {'; '.join(wrong[:SHOWN])}{more}{_unsettled(evidence)}"
        return _finding(expectation, Verdict.FAIL, len(wrong), text)
    if judgement.counted < expectation.min_count:
        text += (
            f"; {judgement.counted} acknowledged writes prove nothing, expected at least "
            f"{expectation.min_count}"
        )
        return _finding(expectation, Verdict.INCONCLUSIVE, 0, text)
    return _finding(expectation, Verdict.PASS, 0, text)


def _missing(invariant: Invariant, evidence: Evidence, system: System) -> list[str]:
    opening = {read.name for read in system.reads if read.opening}
    return [
        f"the {moment} read {name!r} {problem}"
        for moment, part, names in (
            ("final", "reads", invariant.reads),
            ("opening", "first_reads", tuple(n for n in invariant.reads if n in opening)),
        )
        for name in names
        if (problem := _problem(evidence.invariants.get(part, {}).get(name)))
    ]


def _problem(result: dict[str, Any] | None) -> str:
    if result is None:
        return "was never made"
    if "rows" not in result:
        return f"failed: {result.get('problem', 'it left no rows')}"
    return ""


def _facts(evidence: Evidence) -> Facts:
    arrivals = evidence.arrivals
    begun = arrivals[arrivals["class"] != "dropped"]["journey"].value_counts()
    return Facts(
        acknowledged=evidence.acknowledged,
        reads=_rows(evidence.invariants.get("reads", {})),
        first=_rows(evidence.invariants.get("first_reads", {})),
        begun={str(name): int(count) for name, count in begun.items()},
    )


def _rows(results: dict[str, Any]) -> dict[str, tuple[Row, ...]]:
    return {name: tuple(result["rows"]) for name, result in results.items() if "rows" in result}


def _unsettled(evidence: Evidence) -> str:
    """Say that the system was not at rest when it was read, where that is so: it explains much."""
    settled = evidence.invariants.get("settled") or {}
    if settled.get("settled", True):
        return ""
    return f" (not at rest {settled.get('after_s', 0):g} s after the load: {settled.get('left')})"


def _finding(
    expectation: InvariantHolds, verdict: Verdict, measured: int | None, sentence: str
) -> Finding:
    return Finding(
        kind="invariant",
        name=expectation.name,
        phase="run",
        verdict=verdict,
        measured=None if measured is None else float(measured),
        limit=0.0,
        unit="violations",
        sentence=sentence,
    )
