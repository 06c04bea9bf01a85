"""One run of a scenario on a stack of its own, as the command line makes it, open to sabotage."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos.engine.catalogue import adjusted, load_scenario, load_system
from chaos.engine.conclude import conclude
from chaos.engine.injectors.registry import injector_for
from chaos.engine.run_folder import RunFolder
from chaos.engine.runner import Run, RunOptions
from chaos.engine.session import OwnSession, Session, open_session, read_topology

if TYPE_CHECKING:
    from chaos.engine.observer import Tick
    from chaos.model.run import RunResult
    from chaos.model.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
TIME_SCALE = 60.0
Sabotage = Callable[[Session], Awaitable[None]]


@dataclass
class Watcher:
    """An observer that lets a test act when a phase begins."""

    at_phase: str = ""
    act: Callable[[], Awaitable[None]] | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def phase(self, name: str) -> None:
        """Act when the phase is the one that the test waits for."""
        if self.act is not None and name == self.at_phase:
            self.tasks.append(asyncio.ensure_future(self.act()))

    def note(self, text: str) -> None:
        """Say nothing."""

    def tick(self, tick: Tick) -> None:
        """Say nothing."""


async def run_once(
    tmp_path: Path,
    wanted: str | Scenario = "redis-down",
    *,
    rate_rps: float | None = None,
    before: Sabotage | None = None,
    at_phase: tuple[str, Sabotage] | None = None,
    injectors: Any = injector_for,
) -> RunResult:
    """Run a scenario on a fresh stack, sabotaged before it or when a phase begins, and judge it."""
    scenario = load_scenario(ROOT, wanted) if isinstance(wanted, str) else wanted
    scenario = adjusted(scenario, rate_rps=rate_rps, seed=None)
    system = load_system(ROOT)
    session = await open_session(
        ROOT,
        read_topology(ROOT),
        runtime="local",
        time_scale=TIME_SCALE,
        port_base=None,
        progress=lambda _: None,
    )
    assert isinstance(session, OwnSession)
    try:
        if before is not None:
            await before(session)
        watcher = Watcher()
        if at_phase is not None:
            phase, act = at_phase
            watcher = Watcher(phase, lambda: act(session))
        folder = RunFolder.create(tmp_path, scenario.name)
        options = RunOptions(ROOT, tmp_path, TIME_SCALE)
        quiet = frozenset(a.name for a in system.alerts if a.always)
        run = Run(
            scenario, session, options, watcher, folder, system, quiet=quiet, injectors=injectors
        )
        await run.execute()
        await asyncio.gather(*watcher.tasks)
        return conclude(folder.path, scenario, system, timings=run.timings, problem=run.problem)
    finally:
        await session.close()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests' stacks away from a living stack that a person may be using."""
    monkeypatch.setenv("CHAOSBED_STATE", str(tmp_path / "state"))


def processes_of(marker: str) -> list[str]:
    """Return the command lines of all processes whose environment holds `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        try:
            if marker.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def findings(result: RunResult) -> str:
    """Return all findings as text, for the message of a failed test."""
    return json.dumps([f.to_json() for f in result.findings], indent=1)
