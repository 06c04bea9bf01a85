"""Claims about the ledger: every intended arrival ends as exactly one class, whatever is left of the file."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from chaos.errors import UsageError
from chaos.model.evidence import ARRIVAL_CLASSES, ARRIVAL_COLUMNS, BAD_CLASSES, load_acknowledged
from chaos.model.invariants import Acknowledged
from loadtests.intended import intended, read_plan
from loadtests.journeys import EVERYDAY, JOURNEYS, LIVE, LOGINS, MEDIA, journey
from loadtests.ledger import COLUMN_TYPES, Ledger, close_ledger, main, to_frame
from loadtests.outcome import BAD, Outcome, failed, timed_out
from loadtests.world import World
from tests.loadtests.driving import make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.model.run import Plan

PLAN = make_plan(20, 2, arrivals="uniform")


def write(folder: Path, ends: dict[int, Outcome], begun: int) -> None:
    """Write a ledger in which the first `begun` arrivals began and those in `ends` ended."""
    due = intended(PLAN)
    with Ledger.create(folder) as ledger:
        for arrival in due[:begun]:
            ledger.begin(arrival, arrival.due_s + 0.001, f"id-{arrival.n}")
        for n, outcome in ends.items():
            ledger.end(due[n], due[n].due_s + 0.001, due[n].due_s + 0.02, outcome)


def counts(folder: Path, plan: Plan = PLAN) -> dict[str, int]:
    """Return how many arrivals are of which class."""
    return {str(k): int(v) for k, v in to_frame(folder, plan)["class"].value_counts().items()}


def test_begun_without_an_end_is_censored_and_never_begun_is_dropped(tmp_path: Path) -> None:
    """Four ended, two more began, and the other 34 of 40 were never sent: none is missing, none counts twice."""
    ends = {
        0: Outcome("ok", 200),
        1: Outcome("degraded", 200, "cache"),
        2: failed("ConnectionRefusedError"),
        3: timed_out("client limit"),
    }
    write(tmp_path, ends, begun=6)

    assert counts(tmp_path) == {
        "ok": 1,
        "degraded": 1,
        "error": 1,
        "timeout": 1,
        "censored": 2,
        "dropped": 34,
    }
    frame = to_frame(tmp_path, PLAN)
    assert frame["n"].tolist() == list(range(40))
    assert frame["done_s"].notna().tolist() == [True, True] + [False] * 38
    assert frame["sent_s"].notna().sum() == 6
    assert frame.loc[1, "degraded"] == "cache"
    assert frame.loc[5, "correlation_id"] == "id-5"
    assert set(frame["phase"]) == {"before", "after"}


def test_a_line_that_was_cut_off_proves_nothing(tmp_path: Path) -> None:
    """A kill in the middle of an end line leaves its arrival censored; the lines before it stand."""
    write(tmp_path, {0: Outcome("ok", 200), 1: Outcome("ok", 200)}, begun=2)
    ledger = tmp_path / "arrivals.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])

    assert counts(tmp_path) == {"ok": 1, "censored": 1, "dropped": 38}


def test_of_two_ends_the_first_counts(tmp_path: Path) -> None:
    """An arrival ends once; what a broken generator says later changes nothing and adds no row."""
    write(tmp_path, {0: timed_out("client limit")}, begun=1)
    with (tmp_path / "arrivals.jsonl").open("a") as ledger:
        line = {"n": 0, "event": "end", "done_s": 9.0, "status": 200, "class": "ok"}
        ledger.write(json.dumps(line) + "\n")

    assert counts(tmp_path) == {"timeout": 1, "dropped": 39}


def test_without_a_ledger_every_arrival_is_dropped(tmp_path: Path) -> None:
    """A generator that never started is not a run without failures."""
    assert counts(tmp_path) == {"dropped": 40}


def test_a_ledger_of_another_plan_is_refused(tmp_path: Path) -> None:
    """An arrival that the plan does not know is an error in words, never a silent row more or less."""
    write(tmp_path, {}, begun=40)

    with pytest.raises(UsageError, match=r"arrival \d+ is not in the plan's 0 to 19"):
        to_frame(tmp_path, make_plan(10, 2, arrivals="uniform"))


def test_a_run_is_written_once(tmp_path: Path) -> None:
    """A second ledger in a run folder is refused instead of mixed into the first."""
    write(tmp_path, {}, begun=1)

    with pytest.raises(UsageError, match="expected a new run folder"):
        Ledger.create(tmp_path)


def test_the_parquet_file_reads_back_as_the_frame(tmp_path: Path) -> None:
    """What the engine reads has exactly the columns of the evidence, and equals what `to_frame` returns."""
    write(tmp_path, {0: Outcome("ok", 200)}, begun=3)
    (tmp_path / "plan.json").write_text(json.dumps(PLAN.to_json()))

    assert main([str(tmp_path)]) == 0
    frame = pd.read_parquet(tmp_path / "arrivals.parquet")
    pd.testing.assert_frame_equal(frame, to_frame(tmp_path, read_plan(tmp_path)))
    assert tuple(frame.columns) == ARRIVAL_COLUMNS == tuple(COLUMN_TYPES)
    assert set(BAD_CLASSES) == BAD <= set(ARRIVAL_CLASSES)


def test_receipts_are_lines_that_the_evidence_reads_back(tmp_path: Path) -> None:
    """What was acknowledged stands in a file of its own at once, in order, and reads back as it was."""
    first = Acknowledged(1.5, "upload", "v1", "", "ab" * 32, "key-1")
    second = Acknowledged(1.6, "view", "k2", subject="v9", idempotency_key="k2")
    with Ledger.create(tmp_path) as ledger:
        ledger.acknowledge(first)
        assert load_acknowledged(tmp_path) == (first,)
        ledger.acknowledge(second)

    assert load_acknowledged(tmp_path) == (first, second)
    cut = tmp_path / "acknowledged.jsonl"
    cut.write_bytes(cut.read_bytes()[:-20])
    assert load_acknowledged(tmp_path) == (first,)


def test_closing_twice_gives_the_same_account(tmp_path: Path) -> None:
    """The generator closes its ledger and the engine may do it again."""
    write(tmp_path, {0: Outcome("ok", 200)}, begun=3)
    (tmp_path / "plan.json").write_text(json.dumps(PLAN.to_json()))

    assert close_ledger(tmp_path) == 40
    first = (tmp_path / "arrivals.parquet").read_bytes()
    assert close_ledger(tmp_path) == 40
    assert (tmp_path / "arrivals.parquet").read_bytes() == first


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["a", "b"]])
def test_a_wrong_call_is_one_line_and_exit_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """No folder, a folder that is none, two folders: usage errors without a traceback."""
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_plan_whose_schedule_differs_is_refused() -> None:
    """When the two sides would not mean the same arrivals, nothing is sent."""
    with pytest.raises(UsageError, match="intends 41 arrivals but its schedule has 40"):
        intended(replace(PLAN, intended=41))


@pytest.mark.parametrize("arrivals", ["poisson", "uniform"])
def test_the_same_plan_means_the_same_requests(arrivals: str) -> None:
    """Seed and plan decide when what is asked of which video, to the last byte; another seed decides otherwise.

    Logins are due alike too, but whose they are and with which code is the clock's to say.
    """
    world = World(("a", "b", "c", "d"))
    everyday = " ".join(j.name for j in EVERYDAY)

    def asked(seed: int) -> list[str]:
        return [
            f"{d.due_s} {journey(d.journey).prepare(world, Random(d.seed))}"  # noqa: S311
            for d in intended(make_plan(100, 3.3, arrivals=arrivals, journeys=everyday, seed=seed))
        ]

    assert asked(3) == asked(3)
    assert asked(3) != asked(4)


def test_an_unknown_journey_is_answered_with_the_nearest() -> None:
    """A plan with a misspelt journey ends in one helpful line."""
    with pytest.raises(UsageError, match="did you mean 'watch_page'"):
        journey("watchpage")
    assert {j.name for j in EVERYDAY} == {"browse", "thumbnail", "trending", "view", "watch_page"}
    assert set(JOURNEYS) == {j.name for j in (*EVERYDAY, *LOGINS, *MEDIA, *LIVE)}
