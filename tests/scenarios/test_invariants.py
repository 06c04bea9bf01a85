"""Claims about the invariants: one thing lost, wrong, doubled, stray or left over breaks one; no data proves none."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from chaos.checks.invariants import invariant_holds
from chaos.model.expectations import InvariantHolds
from chaos.model.invariants import Acknowledged
from chaos.model.scenario import System
from chaos.model.verdict import Finding, Verdict
from scenarios.invariants import INVARIANTS
from scenarios.reads import READS, SETTLES
from tests.checks.evidence import arrivals, evidence

if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM = System((), (), (), (), (), (), reads=READS, settles=SETTLES, invariants=INVARIANTS)
NAMES = tuple(invariant.name for invariant in INVARIANTS)
A, B, C = (f"00000000-0000-4000-8000-00000000000{letter}" for letter in "abc")
"""A and B were acknowledged, C was not."""
V = "11111111-0000-4000-8000-{:012x}"
VIEWS, FAILED = 6, 1
WRITES = (
    *(Acknowledged(5.0, "upload", id_, "", f"sha-{id_}", f"key-{id_}") for id_ in (A, B)),
    *(Acknowledged(6.0, "view", V.format(n), A, "", V.format(n)) for n in range(VIEWS)),
)


def keys_of(video: str) -> list[str]:
    """Return the keys that a published upload has."""
    renditions = [f"renditions/{video}/{name}.mp4" for name in ("1080p", "720p", "480p")]
    return [f"sources/{video}", *renditions, f"thumbnails/{video}.png"]


def upload(video: str) -> dict[str, Any]:
    """Return the row of an upload that went as promised."""
    kept = {"status": "published", "checksum": f"sha-{video}"}
    return {"id": video, **kept, "effects": 1, "renditions": 3, "alike": 1}


def good() -> dict[str, Any]:
    """Return the reads of a run in which nothing was lost. A video had 1,000 seeded views without events."""
    required = [{"key": key, "required": True} for key in (*keys_of(A), *keys_of(B))]
    seeded = {"key": "sources/seeded", "required": False}
    rows: dict[str, list[dict[str, Any]]] = {
        "uploads": [upload(A), upload(B)],
        "repeated effects": [],
        "keys": [*required, seeded],
        "objects": [{"key": row["key"], "size": 9} for row in required],
        "sources": [{"id": i, "sha256": f"sha-{i}", "size": 9} for i in (A, B)],
        "played": [{"id": i, "status": 200, "sha256": f"sha-{i}", "size": 9} for i in (A, B)],
        "views": [{"id": V.format(n), "video_id": A} for n in range(VIEWS)],
        "tallies": [
            {"video_id": A, "counted": 1_004 + VIEWS, "events": 4 + VIEWS},
            {"video_id": B, "counted": 0, "events": 0},
        ],
        "unfinished": [],
        "pinned": [],
    }
    return {name: {"rows": part} for name, part in rows.items()}


FIRST = {"tallies": {"rows": [{"video_id": A, "counted": 1_004, "events": 4}]}}


def findings(
    change: Callable[[dict[str, Any]], object] = lambda _: None,
    writes: tuple[Acknowledged, ...] = WRITES,
) -> dict[str, Finding]:
    """Judge every invariant of a good run with one thing changed. Of seven views that were tried one got no answer."""
    reads = deepcopy(good())
    change(reads)
    rows = arrivals(per_s=1).iloc[:40].copy()
    rows.loc[rows.index[: VIEWS + FAILED], "journey"] = "view"
    seen = evidence(
        arrivals=rows,
        acknowledged=writes,
        invariants={"reads": reads, "first_reads": deepcopy(FIRST)},
    )
    claims = [InvariantHolds(name, min_count=2) for name in NAMES]
    return {claim.name: invariant_holds(claim, seen, SYSTEM) for claim in claims}


def test_a_run_that_lost_nothing_holds_all_of_them() -> None:
    """All invariants PASS, and their sentences say of how many writes."""
    found = findings()

    assert {f.verdict for f in found.values()} == {Verdict.PASS}, found
    assert "2 uploads acknowledged, 2 readable" in found["uploads-kept"].sentence
    assert "0 not processed, 0 doubled" in found["processed-once"].sentence
    assert "10 objects and 10 keys" in found["nothing-stray"].sentence
    assert "0 tasks and 0 pinned objects" in found["all-settled"].sentence
    assert "6 views acknowledged, 0 lost, 0 doubled" in found["views-conserved"].sentence


def rows(reads: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the rows of a read, to be changed."""
    part: list[dict[str, Any]] = reads[name]["rows"]
    return part


def no_row(reads: dict[str, Any]) -> None:
    """Leave an acknowledged upload without a row, as the query tells it."""
    rows(reads, "uploads")[1] = {
        "id": B,
        **dict.fromkeys(("status", "checksum")),
        **dict.fromkeys(("effects", "renditions", "alike"), 0),
    }


def set_in(read: str, column: str, value: Any, *, at: int = 1) -> Callable[[dict[str, Any]], None]:
    """Return a change of one value."""

    def change(reads: dict[str, Any]) -> None:
        rows(reads, read)[at][column] = value

    return change


def drop(read: str, *, at: int = 1) -> Callable[[dict[str, Any]], object]:
    """Return a change that takes a row away."""
    return lambda reads: rows(reads, read).pop(at)


def add(read: str, **row: Any) -> Callable[[dict[str, Any]], object]:
    """Return a change that adds a row."""
    return lambda reads: rows(reads, read).append(row)


BREAKS: tuple[tuple[str, str, Callable[[dict[str, Any]], object], str], ...] = (
    ("lost row", "uploads-kept", no_row, f"{B} has no row"),
    ("lost row", "processed-once", no_row, f"{B} is not there"),
    ("lost object", "uploads-kept", set_in("sources", "sha256", None), f"{B} has no object"),
    ("object never asked", "uploads-kept", drop("sources"), f"{B} has no object"),
    ("no answer", "uploads-kept", set_in("played", "status", 503), f"{B} has no answer"),
    ("corrupted object", "uploads-kept", set_in("sources", "sha256", "x"), f"{B} has other bytes"),
    ("corrupted row", "uploads-kept", set_in("uploads", "checksum", "x"), f"{B} has other bytes"),
    ("corrupted answer", "uploads-kept", set_in("played", "sha256", "x"), f"{B} has other bytes"),
    ("never processed", "processed-once", set_in("uploads", "effects", 0), "0 effects"),
    ("failed", "processed-once", set_in("uploads", "status", "failed"), f"{B} is failed"),
    ("in part", "processed-once", set_in("uploads", "renditions", 2), "2 renditions"),
    ("processed twice", "processed-once", set_in("uploads", "effects", 2), "processed 2 times"),
    ("stored twice", "processed-once", set_in("uploads", "alike", 2), "there as 2 videos"),
    (
        "another processed twice",
        "processed-once",
        add("repeated effects", video_id=C, effects=2),
        f"video {C} was processed 2 times",
    ),
    ("orphan", "nothing-stray", add("objects", key=f"sources/{C}", size=9), "belongs to no row"),
    ("dangling", "nothing-stray", drop("objects", at=3), "which is not there"),
    ("outbox", "all-settled", add("unfinished", what="outbox", subject=C), f"outbox {C}"),
    ("pin", "all-settled", add("pinned", labels={}, value=2.0), "2 objects are pinned"),
    ("lost view", "views-conserved", drop("views"), f"{V.format(1)} of {A} is not there"),
    ("misplaced view", "views-conserved", set_in("views", "video_id", B), "is not there"),
    (
        "counted twice",
        "views-conserved",
        set_in("tallies", "counted", 1_005 + VIEWS, at=0),
        f"counted {VIEWS + 1} views of {VIEWS} events",
    ),
    (
        "never counted",
        "views-conserved",
        set_in("tallies", "counted", 1_003 + VIEWS, at=0),
        f"counted {VIEWS - 1} views of {VIEWS} events",
    ),
)


@pytest.mark.parametrize(
    ("what", "name", "change", "words"), BREAKS, ids=[f"{b[0]}: {b[1]}" for b in BREAKS]
)
def test_each_kind_of_damage_alone_breaks_the_invariant(
    what: str, name: str, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """One lost, corrupted, doubled, orphaned or unfinished thing among many good ones is a FAIL that names it."""
    finding = findings(change)[name]

    assert finding.verdict is Verdict.FAIL, what
    assert finding.measured == 1
    assert words in finding.sentence


def test_more_events_than_views_that_were_tried_are_doubled_views() -> None:
    """A view without an answer may count, so seven of seven is right; an eighth event came of a repetition."""

    def events(count: int) -> Callable[[dict[str, Any]], None]:
        def change(reads: dict[str, Any]) -> None:
            rows(reads, "tallies")[0] |= {"events": 4 + count, "counted": 1_004 + count}

        return change

    assert findings(events(VIEWS + FAILED))["views-conserved"].verdict is Verdict.PASS
    doubled = findings(events(VIEWS + FAILED + 1))["views-conserved"]
    assert doubled.verdict is Verdict.FAIL
    assert "1 doubled" in doubled.sentence


@pytest.mark.parametrize("name", NAMES)
def test_none_of_them_holds_when_nothing_was_acknowledged(name: str) -> None:
    """The same reads without a single receipt prove nothing."""
    assert findings(writes=())[name].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("name", "read"), [(i.name, read) for i in INVARIANTS for read in i.reads], ids="-".join
)
def test_none_of_them_holds_without_one_of_its_reads(name: str, read: str) -> None:
    """A read that failed leaves each invariant that needs it open."""
    finding = findings(lambda reads: reads.update({read: {"problem": "no answer"}}))[name]

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert f"{read!r} failed: no answer" in finding.sentence


def test_every_read_serves_an_invariant_and_rest_is_told_by_reads_that_exist() -> None:
    """Nothing is read for nobody, and the names that mean rest are names of reads."""
    needed = {name for invariant in INVARIANTS for name in invariant.reads}

    assert needed == {read.name for read in READS}
    assert set(SETTLES) <= needed
