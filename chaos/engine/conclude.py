"""After the evidence is closed: judge it, write `run.json`, render it. Works on old folders as well."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaos.checks.alerts import scorecard
from chaos.checks.honesty import class_counts, honesty_box
from chaos.checks.judge import judge
from chaos.errors import HarnessError
from chaos.model.evidence import load_evidence
from chaos.model.run import RunResult
from chaos.model.verdict import Finding, Verdict, overall

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.model.scenario import Scenario, System

RENDER_WITHIN_S = 30.0


def conclude(
    folder: Path,
    scenario: Scenario,
    system: System,
    *,
    timings: Mapping[str, float] | None = None,
    problem: str = "",
) -> RunResult:
    """Judge a run folder and write its `run.json`. A problem of the harness makes the verdict ERROR.

    Raises `UsageError` when the folder has no plan.
    """
    began = time.monotonic()
    evidence = load_evidence(folder)
    findings = judge(scenario, system, evidence)
    if problem:
        crash = Finding(
            "harness", "the harness finished", "run", Verdict.ERROR, None, None, "", problem
        )
        findings = (crash, *findings)
    result = RunResult(
        scenario=scenario.name,
        claim=scenario.claim,
        verdict=overall(findings),
        started_at=datetime.fromtimestamp(evidence.plan.anchor_wall, UTC).isoformat(
            timespec="milliseconds"
        ),
        runtime=evidence.plan.runtime,
        time_scale=evidence.plan.time_scale,
        seed=evidence.plan.seed,
        findings=findings,
        injections=evidence.injections,
        alerts=scorecard(scenario, evidence, system),
        timings={**(timings or {}), "judge_s": time.monotonic() - began},
        honesty=honesty_box(evidence),
        arrivals=class_counts(evidence),
        environment=environment(),
        problem=problem,
    )
    write_result(folder, result)
    return result


def write_result(folder: Path, result: RunResult) -> None:
    """Write `run.json` so that a reader sees the old text or the new one."""
    part = folder / ".run.json.part"
    part.write_text(json.dumps(result.to_json(), indent=1, default=str) + "\n")
    part.replace(folder / "run.json")


def with_timings(result: RunResult, **timings: float) -> RunResult:
    """Return the result with more timings."""
    return replace(result, timings={**result.timings, **timings})


def environment() -> dict[str, Any]:
    """Return what machine this was run on, as far as it helps to read the numbers."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "ci": bool(os.environ.get("CI")),
    }


async def render(root: Path, *arguments: str) -> None:
    """Run the report builder in a process of its own. Raises `HarnessError` with its last line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reports", *arguments),
        cwd=root,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), RENDER_WITHIN_S)
    except TimeoutError as error:
        process.kill()
        raise HarnessError(
            f"the report took more than {RENDER_WITHIN_S:g} s; run `chaosbed report`"
        ) from error
    if process.returncode:
        lines = output.decode(errors="replace").strip().splitlines() or ["no output"]
        raise HarnessError(f"the report could not be rendered: {lines[-1]}")


def kept(folder: Path) -> tuple[dict[str, float], str]:
    """Return the timings and the problem of an earlier judgement, which judging again cannot know."""
    path = folder / "run.json"
    if not path.is_file():
        return {}, "the run ended before it was judged"
    data = json.loads(path.read_text())
    return dict(data["timings"]), str(data["problem"])
