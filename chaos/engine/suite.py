"""Several scenarios on one stack: run, judge and render each, and end with one exit code."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chaos.engine.conclude import conclude, render, with_timings, write_result
from chaos.engine.observer import Observer
from chaos.engine.run_folder import RunFolder
from chaos.engine.runner import Run, RunOptions
from chaos.engine.session import Session, open_session
from chaos.errors import ChaosError
from chaos.model.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model.run import RunResult
    from chaos.model.scenario import Scenario, System
    from chaos.model.topology import Topology

SEVERITY = (0, 3, 1, 4)
"""Exit codes from best to worst: one FAIL outweighs an INCONCLUSIVE, a failed harness outweighs both."""


class SuiteObserver(Observer, Protocol):
    """What a suite tells: each scenario's begin and verdict besides the run itself."""

    def scenario(self, scenario: Scenario) -> None:
        """Show that a scenario begins."""

    def verdict(self, result: RunResult, folder: Path) -> None:
        """Show a verdict as it falls."""

    def problem(self, text: str) -> None:
        """Show what the harness could not do."""


@dataclass(frozen=True, slots=True)
class SuiteOptions:
    """How to run a suite: where, what, at which time scale, and on which ports.

    `again` is how often an INCONCLUSIVE run is repeated; a FAIL never is.
    """

    root: Path
    out: Path
    runtime: str
    time_scale: float
    port_base: int | None
    command: str
    gate: bool = False
    again: int = 0


async def run_suite(
    scenarios: Sequence[Scenario],
    system: System,
    topology: Topology,
    options: SuiteOptions,
    observer: SuiteObserver,
) -> int:
    """Run the scenarios in order and return the exit code. Raises `UsageError` before anything starts."""
    session: Session | None = None
    codes: list[int] = []
    folders: list[str] = []
    up_s = 0.0
    try:
        for scenario in scenarios:
            if session is None:
                began = time.monotonic()
                session = await open_session(
                    options.root,
                    topology,
                    runtime=options.runtime,
                    time_scale=options.time_scale,
                    port_base=options.port_base,
                    progress=observer.note,
                )
                up_s = time.monotonic() - began
            result, folder = await _run_one(scenario, system, session, options, observer, up_s=up_s)
            up_s = 0.0
            for _ in range(options.again):
                if result.verdict is not Verdict.INCONCLUSIVE or not result.arrivals["ok"]:
                    break
                observer.note("INCONCLUSIVE proves nothing either way: once more")
                result, folder = await _run_one(
                    scenario, system, session, options, observer, up_s=0.0
                )
            codes.append(result.exit_code)
            folders.append(str(folder))
            if result.problem and not session.shared:
                # The next scenario must not inherit what this one may have broken.
                await session.close()
                session = None
    finally:
        if session is not None:
            await asyncio.shield(asyncio.create_task(session.close()))
    wanted = ["--index", str(options.out)]
    if options.gate:
        wanted += ["--suite", str(options.out), *folders]
    try:
        await render(options.root, *wanted)
    except ChaosError as error:
        observer.problem(str(error))
        codes.append(error.exit_code)
    return max(codes, key=SEVERITY.index, default=3)


async def _run_one(
    scenario: Scenario,
    system: System,
    session: Session,
    options: SuiteOptions,
    observer: SuiteObserver,
    *,
    up_s: float,
) -> tuple[RunResult, Path]:
    began = time.monotonic()
    observer.scenario(scenario)
    folder = RunFolder.create(options.out, scenario.name)
    run = Run(
        scenario=scenario,
        session=session,
        options=RunOptions(options.root, options.out, options.time_scale, options.command),
        observer=observer,
        folder=folder,
        system=system,
        quiet=frozenset(a.name for a in system.alerts if a.always),
    )
    await run.execute()
    timings = {"up_s": up_s, **run.timings}
    result = await asyncio.to_thread(
        conclude, folder.path, scenario, system, timings=timings, problem=run.problem
    )
    started = time.monotonic()
    problem = ""
    try:
        await render(options.root, str(folder.path))
    except ChaosError as error:
        problem = str(error)
        observer.problem(problem)
    done = time.monotonic()
    result = with_timings(result, report_s=done - started, total_s=done - began + up_s)
    write_result(folder.path, result)
    observer.verdict(result, folder.path)
    return result, folder.path
