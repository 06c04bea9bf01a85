"""A stack of real parts, and a fault session on it with its journal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from chaos.engine.faults import FaultSession
from chaos.engine.journal import JOURNAL_FILE, Journal, read
from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime
from chaos.toxiproxy.client import Toxiproxy
from tests.engine.clients import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chaos.runtime.base import Stack

SYSTEM = Path(__file__).parent / "system"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Bench:
    """A living stack, a session that breaks and heals it, and what the journal says about that."""

    stack: Stack
    faults: FaultSession
    journal: Path

    def address(self, component: str) -> tuple[str, int]:
        """Return the address of a component's first port."""
        return self.stack.address(component, self.stack.topology.component(component).ports[0])

    def api(self, dependency: str) -> Toxiproxy:
        """Return the control API of a dependency's edge."""
        edge = self.stack.topology.dependency(dependency)
        return Toxiproxy(*self.stack.address(edge.component, edge.api_port), within_s=5.0)

    def events(self) -> list[str]:
        """Return the journal's events in their order."""
        return [line["event"] for line in read(self.journal)]

    def last(self, event: str) -> dict[str, Any]:
        """Return the journal's last line of an event."""
        return next(line for line in reversed(read(self.journal)) if line["event"] == event)

    async def witness(self) -> dict[str, Any]:
        """Return the witness of the latest fault, once it has been taken."""
        await until(lambda: "witnessed" in self.events(), "the witness is taken", within_s=10.0)
        witness = self.last("witnessed")["witness"]
        assert isinstance(witness, dict)
        return witness


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Valkey behind two edges and an echo server behind a third; down and clean after the test."""
    runtime = LocalRuntime(root=ROOT, state=tmp_path / "state")
    topology = load_topology(SYSTEM / "compose.yaml", environ={})
    stack = await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
    began = time.monotonic()

    def now_s() -> float:
        return time.monotonic() - began

    journal = tmp_path / JOURNAL_FILE
    faults = FaultSession(stack, Journal(journal, now_s), now_s)
    try:
        yield Bench(stack, faults, journal)
        await faults.heal_all()
    finally:
        residue = await stack.down()
    assert residue.clean, residue
