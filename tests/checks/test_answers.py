"""Claims about answers: nobody gets in who must not, honest visitors do, and no traffic proves neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.checks.answers import answered_with, never_answered
from chaos.errors import UsageError
from chaos.model.expectations import AnsweredWith, NeverAnswered
from chaos.model.verdict import Verdict
from tests.checks.evidence import SYSTEM, arrivals, evidence

if TYPE_CHECKING:
    import pandas as pd

NEVER = NeverAnswered(("intruder",), (200,))
WITH = AnsweredWith(("intruder",), (401, 429), "fault", min_share=0.9)


def attempts(count: int, statuses: dict[int, int] | None = None) -> pd.DataFrame:
    """Return the everyday arrivals, of which `count` of the fault phase are an intruder's, answered 401.

    `statuses` maps the number of one of them to another status; 0 is no answer.
    """
    rows = arrivals()
    fault = rows.index[rows["phase"] == "fault"]
    # Evenly spread, so that the part of the phase in which the fault is in force holds nearly all of them.
    picked = fault[:: len(fault) // count][:count] if count else fault[:0]
    rows.loc[picked, ["journey", "status", "class", "degraded"]] = ("intruder", 401, "ok", "")
    for number, status in (statuses or {}).items():
        rows.loc[picked[number], "status"] = status
        if status == 0:
            rows.loc[picked[number], ["done_s", "class"]] = (float("nan"), "timeout")
    return rows


def test_an_intruder_who_never_gets_in_is_proved_by_many_attempts() -> None:
    """100 refused attempts and none that got in: PASS."""
    finding = never_answered(NEVER, evidence(arrivals=attempts(100)), SYSTEM)

    assert finding.verdict is Verdict.PASS
    assert (finding.measured, finding.limit) == (0, 0)
    assert "0 of 100 answers were 200 (answers: 100 401)" in finding.sentence


@pytest.mark.parametrize("count", [5, 100])
def test_one_who_got_in_breaks_the_claim_however_many_did_not(count: int) -> None:
    """A single 200 is a FAIL, also among fewer attempts than a proof needs, and its correlation id is told."""
    rows = attempts(count, {3: 200})
    finding = never_answered(NEVER, evidence(arrivals=rows), SYSTEM)
    wrong = rows[(rows["journey"] == "intruder") & (rows["status"] == 200)].iloc[0]

    assert finding.verdict is Verdict.FAIL
    assert finding.measured == 1
    assert wrong["correlation_id"] in finding.sentence


@pytest.mark.parametrize("count", [0, 49])
def test_too_few_attempts_prove_nothing(count: int) -> None:
    """No attempt, or one less than asked for, is INCONCLUSIVE."""
    finding = never_answered(NEVER, evidence(arrivals=attempts(count)), SYSTEM)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "at least 50" in finding.sentence


def test_attempts_without_an_answer_do_not_count_as_refused() -> None:
    """60 attempts of which 20 got no answer are 40 answers: too few."""
    rows = attempts(60, dict.fromkeys(range(20), 0))

    assert never_answered(NEVER, evidence(arrivals=rows), SYSTEM).verdict is Verdict.INCONCLUSIVE


def test_answers_of_other_journeys_and_phases_do_not_count() -> None:
    """The readers' thousands of 200 break nothing, and attempts of another phase prove nothing here."""
    elsewhere = NeverAnswered(("intruder",), (200,), phase="baseline")

    assert never_answered(NEVER, evidence(arrivals=attempts(100)), SYSTEM).verdict is Verdict.PASS
    assert (
        never_answered(elsewhere, evidence(arrivals=attempts(100)), SYSTEM).verdict
        is Verdict.INCONCLUSIVE
    )


def test_a_share_of_answers_is_judged_by_its_interval() -> None:
    """All of 100: PASS; 60 of 100: FAIL; 92 of 100 against 90 %, or all of 20: INCONCLUSIVE."""
    cases = {
        Verdict.PASS: attempts(100),
        Verdict.FAIL: attempts(100, dict.fromkeys(range(40), 503)),
        Verdict.INCONCLUSIVE: attempts(100, dict.fromkeys(range(8), 503)),
    }
    for verdict, rows in cases.items():
        assert answered_with(WITH, evidence(arrivals=rows), SYSTEM).verdict is verdict
    few = answered_with(WITH, evidence(arrivals=attempts(20)), SYSTEM)
    assert few.verdict is Verdict.INCONCLUSIVE


def test_a_share_without_arrivals_is_never_a_pass() -> None:
    """Nobody who tried is INCONCLUSIVE, and nothing measured."""
    finding = answered_with(WITH, evidence(arrivals=attempts(0)), SYSTEM)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.measured is None


def test_an_arrival_without_an_answer_counts_against_the_share() -> None:
    """Half of the attempts without an answer is not 90 % answered 401."""
    rows = attempts(100, dict.fromkeys(range(50), 0))
    finding = answered_with(WITH, evidence(arrivals=rows), SYSTEM)

    assert finding.verdict is Verdict.FAIL
    assert "no answer" in finding.sentence


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NeverAnswered((), (200,)), "at least one name"),
        (lambda: NeverAnswered(("intruder",), ()), "expected HTTP statuses"),
        (lambda: NeverAnswered(("intruder",), (200,), min_arrivals=0), "at least 1"),
        (lambda: AnsweredWith(("intruder",), (42,), "fault", 0.9), "expected HTTP statuses"),
        (lambda: AnsweredWith(("intruder",), (429,), "fault", 0.0), "between 0 and 1"),
    ],
)
def test_a_claim_that_nothing_could_break_cannot_be_made(make: object, words: str) -> None:
    """No journeys, no statuses, no arrivals or a share of nothing are refused when the scenario is built."""
    with pytest.raises(UsageError, match=words):
        make()  # type: ignore[operator]
