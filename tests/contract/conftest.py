"""The runtime under test, and stacks that never outlive their test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chaos.model.topology import Topology
    from chaos.runtime.base import Runtime, Stack

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def topology() -> Topology:
    """Valkey, one edge to it, and a one-shot that writes through the edge."""
    return load_topology(HERE / "compose.yaml", environ={})


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the prepared data of this test session, so that a database cluster is made only once."""
    return tmp_path_factory.mktemp("templates")


@pytest.fixture
def state(tmp_path: Path, templates: Path) -> Path:
    """Return the folder where a runtime keeps its stacks."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "templates").symlink_to(templates)
    return folder


@pytest.fixture(params=["local"])
def runtime(request: pytest.FixtureRequest, state: Path) -> Runtime:
    """Every runtime that must keep the contract."""
    assert request.param == "local"
    return LocalRuntime(root=ROOT, state=state)


@pytest_asyncio.fixture
async def start(runtime: Runtime) -> AsyncIterator[Callable[[Topology], Awaitable[Stack]]]:
    """Bring a topology up; whatever was started is down after the test."""
    stacks: list[Stack] = []

    async def up(topology: Topology) -> Stack:
        stack = await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
        stacks.append(stack)
        return stack

    yield up
    for stack in stacks:
        residue = await stack.down()
        assert residue.clean, residue


@pytest_asyncio.fixture
async def stack(start: Callable[[Topology], Awaitable[Stack]], topology: Topology) -> Stack:
    """Return the small system, all ready."""
    return await start(topology)


def altered(topology: Topology, name: str, **changes: object) -> Topology:
    """Return the topology with one component changed."""
    return dataclasses.replace(
        topology,
        components=tuple(
            dataclasses.replace(part, **changes) if part.name == name else part  # type: ignore[arg-type]
            for part in topology.components
        ),
        _index={},
    )
