"""What the scenarios about uploads claim rests on four parts: with them it holds, without any one of them it does not.

The scenarios are shortened to what the parts are about: the fault, uploads beside a few others, and the invariants.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos.engine.catalogue import load_scenario
from chaos.model.expectations import InvariantHolds
from chaos.model.faults import Pause
from chaos.model.scenario import Load, Phase, Scenario
from chaos.model.verdict import Verdict
from tests.e2e.conftest import ROOT, findings, run_once

if TYPE_CHECKING:
    from chaos.engine.session import Session
    from chaos.model.faults import Fault
    from chaos.model.run import RunResult
    from chaos.model.verdict import Finding

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
HERE = Path(__file__).parent
SETTLE_S = 20.0
LIGHT = Load(
    rate_rps=12,
    journeys=(("upload", 0.12), ("view", 0.5), ("watch_page", 0.28), ("thumbnail", 0.1)),
)
MACHINE = "the machine was free"
OF_A_BUSY_MACHINE = {MACHINE, "monitoring was alive", "generator kept its schedule"}
TWICE = {"relay": "with_every_task_twice"}
"""Doubled deliveries come by themselves, too, but not in each run."""

BEFORE: dict[str, tuple[Fault, ...]] = {
    # The worker stands still, so that tasks wait in the queue when it is lost.
    "redis-killed": (Pause("worker"),),
    "broker-cut": (),
    "s3-down": (),
}
"""The scenarios, and what is in force until their own fault comes."""


def short(name: str) -> Scenario:
    """Return a scenario with its own fault, shortened."""
    whole = load_scenario(ROOT, name)
    (fault,) = (phase for phase in whole.phases if phase.faults)
    claims = (e for e in whole.expectations if isinstance(e, InvariantHolds))
    few = {"views-conserved": 30}
    return replace(
        whole,
        load=LIGHT,
        phases=(
            Phase("warm-up", 2),
            Phase("baseline", 5, faults=BEFORE[name]),
            replace(fault, duration_s=8),
            Phase("recovery", 3),
        ),
        expectations=tuple(replace(claim, min_count=few.get(claim.name, 5)) for claim in claims),
        settle_s=SETTLE_S,
    )


async def run_changed(tmp_path: Path, name: str, changed: dict[str, str]) -> RunResult:
    """Run a scenario in which some components start with a folder of changes."""

    async def change(session: Session) -> None:
        for component, folder in changed.items():
            environment = {"PYTHONPATH": str(HERE / folder)}
            await session.stack.replace(component, environment=environment)

    return await run_once(tmp_path, short(name), before=change)


async def run_without(tmp_path: Path, name: str, changed: dict[str, str]) -> dict[str, Finding]:
    """Run a scenario with a part taken out of some components; return what was found of each invariant."""
    result = await run_changed(tmp_path, name, changed)
    assert result.verdict in {Verdict.FAIL, Verdict.INCONCLUSIVE}, findings(result)
    assert {f.verdict for f in result.findings if f.kind == "witness"} == {Verdict.PASS}
    return invariants_of(result)


def invariants_of(result: RunResult) -> dict[str, Finding]:
    """Return what was found of each invariant."""
    return {f.name: f for f in result.findings if f.kind == "invariant"}


def verdicts(found: dict[str, Finding]) -> dict[str, str]:
    """Return the verdict on each invariant."""
    return {name: finding.verdict.value for name, finding in found.items()}


def check_never_processed(found: dict[str, Finding]) -> None:
    """Check that some uploads wait for ever, in processing; they are there, and not yet shown to anybody.

    What others wait for goes on meanwhile, so an object may be there whose row is about to be.
    """
    expected = {"uploads-kept": "FAIL", "processed-once": "FAIL", "all-settled": "FAIL"}
    expected["views-conserved"] = "PASS"
    assert verdicts(found) == {**expected, "nothing-stray": found["nothing-stray"].verdict.value}
    assert "is processing with 0 effects" in found["processed-once"].sentence
    assert ", 0 doubled" in found["processed-once"].sentence
    assert "has no answer" in found["uploads-kept"].sentence


@pytest.mark.parametrize("name", BEFORE)
async def test_with_all_parts_nothing_is_lost(tmp_path: Path, name: str) -> None:
    """The shortened scenario holds, all of it, doubled deliveries too; no doubt is left but of a busy machine."""
    result = await run_changed(tmp_path, name, TWICE if name == "broker-cut" else {})

    assert set(verdicts(invariants_of(result)).values()) == {"PASS"}, findings(result)
    others = {f.name for f in result.findings if f.verdict is not Verdict.PASS}
    assert not others or MACHINE in others, findings(result)
    assert others <= OF_A_BUSY_MACHINE, findings(result)


async def test_without_the_reconciler_lost_tasks_are_never_done(tmp_path: Path) -> None:
    """What waited in a queue that died is kept, and never processed."""
    found = await run_without(tmp_path, "redis-killed", {"relay": "without_reconciler"})

    check_never_processed(found)


async def test_without_the_outbox_tasks_are_lost_on_their_way(tmp_path: Path) -> None:
    """What was uploaded while the broker was dead is kept, and never processed."""
    found = await run_without(tmp_path, "redis-killed", {"app": "without_outbox"})

    check_never_processed(found)


async def test_without_the_guards_work_is_done_twice(tmp_path: Path) -> None:
    """What the queue delivers twice is processed twice: nothing is missing, much is doubled."""
    unguarded = dict.fromkeys(("app", "worker"), "without_dedup")
    found = await run_without(tmp_path, "broker-cut", {**TWICE, **unguarded})

    assert verdicts(found) == {
        "uploads-kept": "PASS",
        "processed-once": "FAIL",
        "nothing-stray": "PASS",
        "all-settled": "PASS",
        "views-conserved": "PASS",
    }
    assert "was processed 2 times" in found["processed-once"].sentence


async def test_without_the_way_back_objects_stay_here(tmp_path: Path) -> None:
    """What was uploaded while the store was away is never in the store, and stays pinned."""
    found = await run_without(tmp_path, "s3-down", {"relay": "without_copy_back"})

    assert verdicts(found)["uploads-kept"] == "FAIL"
    assert verdicts(found)["nothing-stray"] == "FAIL"
    assert verdicts(found)["all-settled"] == "FAIL"
    assert verdicts(found)["views-conserved"] == "PASS"
    assert "objects are pinned" in found["all-settled"].sentence
