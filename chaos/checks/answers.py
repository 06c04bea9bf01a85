"""What whole journeys were answered with: that an intruder never gets in, that honest visitors do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.checks.common import in_force, interval_text, percent, select
from chaos.model.slo import wilson
from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from chaos.model.evidence import Evidence
    from chaos.model.expectations import AnsweredWith, NeverAnswered
    from chaos.model.scenario import System

UNANSWERED = 0
"""The status of an arrival that got no answer."""
SHOWN = 5


def never_answered(expectation: NeverAnswered, evidence: Evidence, _system: System) -> Finding:
    """Judge that no arrival got a forbidden status. One is a FAIL even among few; few without one prove nothing."""
    rows = _of(expectation.journeys, select(evidence, evidence.plan.window(expectation.phase)))
    answered = rows[rows["status"] != UNANSWERED]
    wrong = answered[answered["status"].isin(expectation.statuses)]
    if len(wrong):
        verdict = Verdict.FAIL
    elif len(answered) < expectation.min_arrivals:
        verdict = Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.PASS
    return Finding(
        kind="invariant",
        name=f"{_who(expectation.journeys)} never answered {_which(expectation.statuses)}",
        phase=expectation.phase,
        verdict=verdict,
        measured=float(len(wrong)) if len(answered) else None,
        limit=0.0,
        unit="answers",
        sentence=f"{len(wrong)} of {len(answered)} answers were {_which(expectation.statuses)}"
        + _examples(wrong)
        + (
            f"; expected at least {expectation.min_arrivals} answers to prove it"
            if len(answered) < expectation.min_arrivals
            else ""
        )
        + _told(answered),
    )


def answered_with(expectation: AnsweredWith, evidence: Evidence, _system: System) -> Finding:
    """Judge the share of arrivals that got one of the statuses while the faults were in force, by its interval."""
    rows = _of(expectation.journeys, select(evidence, in_force(evidence, expectation.phase)))
    total = len(rows)
    right = int(rows["status"].isin(expectation.statuses).sum())
    share = wilson(right, total)
    if total == 0:
        verdict = Verdict.INCONCLUSIVE
    elif share.low >= expectation.min_share:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if share.high < expectation.min_share else Verdict.INCONCLUSIVE
    return Finding(
        kind="answers",
        name=f"{_who(expectation.journeys)} answered {_which(expectation.statuses)}",
        phase=expectation.phase,
        verdict=verdict,
        measured=share.estimate if total else None,
        limit=expectation.min_share,
        unit="fraction answered so",
        sentence=f"{right} of {total} arrivals were answered {_which(expectation.statuses)} "
        f"({interval_text(share)}), expected at least {percent(expectation.min_share)}"
        + _told(rows),
    )


def _of(journeys: tuple[str, ...], rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["journey"].isin(journeys)]


def _who(journeys: tuple[str, ...]) -> str:
    return " and ".join(journeys)


def _which(statuses: tuple[int, ...]) -> str:
    return " or ".join(str(status) for status in statuses)


def _told(rows: pd.DataFrame) -> str:
    """Write what was answered, the most frequent first."""
    counts = rows["status"].value_counts()
    told = [
        f"{int(n)} {'no answer' if int(str(status)) == UNANSWERED else status}"
        for status, n in counts.head(SHOWN).items()
    ]
    return f" (answers: {', '.join(told)})" if told else ""


def _examples(rows: pd.DataFrame) -> str:
    """Name arrivals by which the logs can be searched."""
    if not len(rows):
        return ""
    named = ", ".join(
        f"{row.journey} at {row.due_s:.2f} s, correlation id {row.correlation_id}"
        for row in rows.head(SHOWN).itertuples()
    )
    return f": {named}"
