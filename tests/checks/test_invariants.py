"""Claims about the check of invariants: a violation fails, and without reads or writes nothing is proved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chaos.checks.invariants import invariant_holds
from chaos.checks.judge import judge
from chaos.errors import UsageError
from chaos.model.expectations import InvariantHolds
from chaos.model.invariants import Acknowledged, Facts, Invariant, Judgement
from chaos.model.reads import SqlRead
from chaos.model.scenario import Load, Phase, Scenario
from chaos.model.verdict import Verdict
from tests.checks.evidence import SYSTEM, arrivals, evidence

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence


def nothing_lost(facts: Facts) -> Judgement:
    """Judge that each acknowledged note is among the rows, with as many as there were before."""
    notes = facts.of("note")
    there = {row["id"] for row in facts.reads["notes"]} - {
        row["id"] for row in facts.first["notes"]
    }
    lost = tuple(f"{note} is lost" for note in notes if note not in there)
    return Judgement(len(notes), f"{len(notes)} acknowledged, {len(lost)} lost", lost)


CLAIM = InvariantHolds("notes-kept", min_count=3)
KNOWING = replace(
    SYSTEM,
    reads=(SqlRead(name="notes", query="SELECT id FROM notes", opening=True),),
    invariants=(Invariant("notes-kept", "every note is kept", ("notes",), nothing_lost),),
)


def of(ids: str, there: str | None = None, **invariants: Any) -> Evidence:
    """Return evidence in which notes were acknowledged (a letter each), and which of them are there at the end."""
    rows = [{"id": letter} for letter in (ids if there is None else there)]
    return evidence(
        acknowledged=tuple(Acknowledged(20.0, "note", letter) for letter in ids),
        invariants={"reads": {"notes": {"rows": rows}}, "first_reads": {"notes": {"rows": []}}}
        | invariants,
    )


def test_all_writes_there_is_a_pass_with_counts() -> None:
    """Four acknowledged, four there: PASS, 0 violations, and the sentence says of how many."""
    finding = invariant_holds(CLAIM, of("abcd"), KNOWING)

    assert finding.verdict is Verdict.PASS
    assert (finding.measured, finding.limit, finding.kind) == (0, 0, "invariant")
    assert finding.sentence == "every note is kept: 4 acknowledged, 0 lost"


@pytest.mark.parametrize("ids", ["ab", "abcdefghi"])
def test_one_violation_fails_however_many_writes_there_are(ids: str) -> None:
    """A single lost write is a FAIL, also among fewer than a proof needs, and it is named."""
    finding = invariant_holds(CLAIM, of(ids, there=ids[1:]), KNOWING)

    assert finding.verdict is Verdict.FAIL
    assert finding.measured == 1
    assert "a is lost" in finding.sentence


def test_many_violations_are_counted_and_a_few_named() -> None:
    """Nine lost: nine are measured, five stand in the sentence, the rest as a number."""
    finding = invariant_holds(CLAIM, of("abcdefghi", there=""), KNOWING)

    assert finding.measured == 9
    assert "e is lost and 4 more" in finding.sentence


@pytest.mark.parametrize("ids", ["", "ab"])
def test_too_few_acknowledged_writes_prove_nothing(ids: str) -> None:
    """Nothing acknowledged, or one less than asked for, is INCONCLUSIVE, though nothing was violated."""
    finding = invariant_holds(CLAIM, of(ids), KNOWING)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "expected at least 3" in finding.sentence


@pytest.mark.parametrize("moment", ["reads", "first_reads"])
@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({}, "was never made"),
        ({"notes": {"problem": "no answer within 10 s"}}, "failed: no answer within 10 s"),
    ],
)
def test_without_a_read_nothing_can_be_told(moment: str, result: Any, words: str) -> None:
    """A final or opening read that was not made, or failed, is INCONCLUSIVE, and nothing was measured."""
    finding = invariant_holds(CLAIM, of("abcd", **{moment: result}), KNOWING)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.measured is None
    assert words in finding.sentence


def test_a_violation_of_a_system_that_was_not_at_rest_says_so() -> None:
    """What was still under way stands beside what is missing."""
    settled = {"settled": False, "after_s": 30.0, "left": ["outbox: 7"]}
    finding = invariant_holds(CLAIM, of("abcd", there="abc", settled=settled), KNOWING)

    assert finding.verdict is Verdict.FAIL
    assert "not at rest 30 s after the load: ['outbox: 7']" in finding.sentence


def test_begun_arrivals_are_counted_by_journey_without_those_never_sent() -> None:
    """An invariant sees how many arrivals a journey began; dropped ones never reached the system."""
    seen: list[Facts] = []

    def look(facts: Facts) -> Judgement:
        seen.append(facts)
        return Judgement(9, "looked")

    rows = arrivals()
    rows.loc[rows.index[:10], "class"] = "dropped"
    system = replace(KNOWING, invariants=(Invariant("notes-kept", "looks", ("notes",), look),))
    invariant_holds(CLAIM, replace(of("abcd"), arrivals=rows), system)

    assert seen[0].begun == {"read": len(rows) - 10}


def test_a_write_acknowledged_twice_is_one_write() -> None:
    """A retry that is acknowledged again adds nothing to what must be there; the first receipt counts."""
    twice = tuple(Acknowledged(t_s, "note", "a") for t_s in (3.0, 9.0))

    assert Facts(twice, {}).of("note") == {"a": twice[0]}


def test_an_invariant_that_crashes_is_an_error_and_never_a_pass() -> None:
    """A judge that meets rows which it does not understand ends the run as ERROR."""
    scenario = Scenario("s", "c", Load(1, (("read", 1.0),)), (Phase("fault", 1),), (CLAIM,))
    rows = {"notes": {"rows": [{"nope": 1}]}}
    found = judge(scenario, KNOWING, of("abcd", reads=rows))

    assert found[0].verdict is Verdict.ERROR
    assert "KeyError" in found[0].sentence


def test_a_claim_of_no_writes_at_all_cannot_be_made() -> None:
    """An invariant over at least 0 writes could pass on nothing."""
    with pytest.raises(UsageError, match="min_count=0; expected at least 1"):
        InvariantHolds("notes-kept", min_count=0)
