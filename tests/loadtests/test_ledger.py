"""Claims about the ledger: every intended arrival ends as exactly one class."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos.model.run import PhaseWindow, Plan
from loadtests.journeys import JOURNEYS, Answer, World
from loadtests.ledger import LEDGER, Ledger, close, intended, to_frame


def make_plan(rate: float = 20.0, seconds: float = 2.0, kind: str = "uniform") -> Plan:
    """Return a plan with one phase."""
    plan = Plan(
        scenario="x",
        claim="c",
        seed=3,
        time_scale=60,
        runtime="local",
        rate_rps=rate,
        arrivals=kind,
        journeys=tuple((name, 1.0) for name in sorted(JOURNEYS)),
        phases=(PhaseWindow("steady", 0.0, seconds, 1.0),),
        intended=0,
        topology_digest="",
        anchor_wall=0.0,
        anchor_monotonic=0.0,
    )
    return Plan(**{**{f: getattr(plan, f) for f in plan.__slots__}, "intended": len(intended(plan))})


def test_begun_is_censored_and_never_begun_is_dropped(tmp_path: Path) -> None:
    """What has no end line is censored; what has no line at all is dropped; nothing is missing."""
    ledger = Ledger(tmp_path / LEDGER)
    for n in range(10):
        ledger.begin(n, n / 20, "/r", f"c{n}")
    for n in range(6):
        ledger.end(n, n / 20 + 0.01, 200, "ok", "")
    ledger.end(6, None, 0, "timeout", "")
    ledger.close()
    frame = to_frame(tmp_path, make_plan())

    assert len(frame) == 40
    assert frame["class"].value_counts().to_dict() == {"dropped": 30, "ok": 6, "censored": 3, "timeout": 1}
    assert frame["n"].is_unique


def test_a_cut_off_line_and_a_second_end_change_nothing(tmp_path: Path) -> None:
    """A crash in the middle of a line loses that line only, and the first end of an arrival counts."""
    ledger = Ledger(tmp_path / LEDGER)
    ledger.begin(0, 0.0, "/r", "c0")
    ledger.end(0, 0.1, 200, "ok", "")
    ledger.end(0, 0.9, 500, "error", "")
    ledger.begin(1, 0.05, "/r", "c1")
    ledger.close()
    with (tmp_path / LEDGER).open("a") as out:
        out.write('{"n":1,"done_s":0.2,"sta')
    frame = to_frame(tmp_path, make_plan()).set_index("n")

    assert frame.loc[0, "class"] == "ok"
    assert frame.loc[1, "class"] == "censored"


def test_without_a_ledger_every_arrival_is_dropped(tmp_path: Path) -> None:
    """A generator that never started leaves no hole in the accounts."""
    (tmp_path / "plan.json").write_text(json.dumps(make_plan().to_json()))

    assert close(tmp_path) == 40
    assert set(to_frame(tmp_path, make_plan())["class"]) == {"dropped"}


def test_the_schedule_is_a_function_of_the_plan() -> None:
    """Both sides compute the same arrivals; another seed gives others; Poisson has the asked rate."""
    plan = make_plan(100, 100, "poisson")

    assert intended(plan) == intended(plan)
    assert abs(len(intended(plan)) - 10_000) < 400
    gaps = [b.due_s - a.due_s for a, b in zip(intended(plan), intended(plan)[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5 / mean
    assert 0.95 < spread < 1.05


@pytest.mark.parametrize("name", sorted(JOURNEYS))
def test_an_oracle_refuses_a_wrong_body(name: str) -> None:
    """A 200 with an error body is an error."""
    from random import Random

    request = JOURNEYS[name](Random(1), World(("v1", "v2"), ("c",)))

    assert request.wrong(Answer(200, {"content-type": "text/html"}, b"<h1>oops</h1>"))
    assert request.wrong(Answer(200, {"content-type": "image/png"}, b""))
