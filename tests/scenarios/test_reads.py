"""Claims about the reads of the stores: the real schema knows what they ask, and a fresh world is at peace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from chaos.engine.final_reads import Reader
from chaos.engine.session import read_topology
from chaos.model.invariants import Acknowledged, Facts
from chaos.model.topology import Topology
from chaos.runtime.local import LocalRuntime
from scenarios import invariants
from scenarios.reads import PINNED, PLAYED, READS, UNFINISHED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("postgres", "s3", "migrate", "bucket", "seed")
"""The stores with the seeded world in them; nothing that serves."""
ID = "00000000-0000-4000-8000-000000000001"
WRITES = (Acknowledged(1.0, "upload", ID, "", "ab" * 32), Acknowledged(1.0, "view", ID, ID))

pytestmark = pytest.mark.live


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    """Read the stores of a freshly seeded world, with an upload and a view that it never acknowledged."""
    whole = read_topology(ROOT)
    parts = tuple(
        replace(part, after=tuple(name for name in part.after if name in PARTS))
        for part in map(whole.component, PARTS)
    )
    topology = Topology("stores", parts, folder=whole.folder)
    runtime = LocalRuntime(root=ROOT, state=tmp_path_factory.mktemp("state"))
    stack = await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
    try:
        reads = tuple(read for read in READS if read not in (PINNED, PLAYED))
        yield await Reader(stack).read_all(reads, WRITES)
    finally:
        residue = await stack.down()
    assert residue.clean, residue


def facts(found: dict[str, Any], *acknowledged: Acknowledged) -> Facts:
    """Return what invariants get: nothing has changed since before the load."""
    rows = {name: tuple(result["rows"]) for name, result in found.items()}
    answers = tuple({"id": write.id, "status": 404, "sha256": "", "size": 0} for write in WRITES)
    rows |= {PINNED.name: (), PLAYED.name: answers}
    return Facts(acknowledged, rows, first=rows)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_real_stores_understand_every_read(found: dict[str, Any]) -> None:
    """No table, column or bucket is missing, and what is there is told in rows."""
    assert not {name: result for name, result in found.items() if "rows" not in result}
    assert found["tallies"]["rows"]
    assert found["objects"]["rows"]
    assert len(found["uploads"]["rows"]) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_seeded_world_holds_every_invariant(found: dict[str, Any]) -> None:
    """No object is stray, no row dangles, nothing waits; seeded views, which have no events, are no difference."""
    assert found[UNFINISHED.name]["rows"] == []
    for invariant in invariants.INVARIANTS:
        assert invariant.judge(facts(found)).violations == (), invariant.name


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_never_stored_is_missed(found: dict[str, Any]) -> None:
    """An upload and a view that the real stores do not know are told as lost."""
    there = facts(found, *WRITES)

    assert f"upload {ID} has no row and no object" in invariants.uploads_kept(there).violations[0]
    assert f"upload {ID} is not there" in invariants.processed_once(there).violations[0]
    assert f"view {ID}" in invariants.views_conserved(there).violations[0]
