"""Find and load scenarios by name. The engine knows no domain: it imports what stands in `scenarios/`."""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.errors import ChaosError, UsageError, unknown
from chaos.model.scenario import Load, Scenario, System

if TYPE_CHECKING:
    from pathlib import Path

HELPERS = {"__init__", "system", "reads", "invariants"}


def names(root: Path) -> tuple[str, ...]:
    """Return the names of all scenarios, in the order of their files."""
    files = sorted((root / "scenarios").glob("*.py"))
    return tuple(f.stem.replace("_", "-") for f in files if f.stem not in HELPERS)


def load_scenario(root: Path, name: str) -> Scenario:
    """Load one scenario. Raises `UsageError` with the nearest name, or with the line of a mistake in its file."""
    known = names(root)
    if name not in known:
        raise unknown("scenario", name, known)
    stem = name.replace("-", "_")
    path = root / "scenarios" / f"{stem}.py"
    try:
        module = importlib.import_module(f"scenarios.{stem}")
        scenario = module.SCENARIO
    except ChaosError:
        raise
    except SyntaxError as error:
        raise UsageError(
            f"{path.name}, line {error.lineno}: {error.msg}; expected Python that defines SCENARIO"
        ) from error
    except Exception as error:
        raise UsageError(
            f"{path.name}{_line(error, path)}: {error}; expected a value SCENARIO"
        ) from error
    if not isinstance(scenario, Scenario):
        raise UsageError(f"{path.name}: SCENARIO is {type(scenario).__name__}; expected a Scenario")
    if scenario.name != name:
        raise UsageError(
            f"{path.name}: SCENARIO is called {scenario.name!r}; expected {name!r} like its file"
        )
    return scenario


def load_system(root: Path) -> System:
    """Load the system that the scenarios are written against."""
    try:
        system = importlib.import_module("scenarios.system").SYSTEM
    except ChaosError:
        raise
    except Exception as error:
        path = root / "scenarios" / "system.py"
        raise UsageError(
            f"system.py{_line(error, path)}: {error}; expected a value SYSTEM"
        ) from error
    if not isinstance(system, System):
        raise UsageError(f"system.py: SYSTEM is {type(system).__name__}; expected a System")
    return system


def gate_names(root: Path) -> tuple[str, ...]:
    """Return the scenarios of the CI gate, in order."""
    module = importlib.import_module("scenarios.system")
    return tuple(getattr(module, "GATE", names(root)))


def adjusted(scenario: Scenario, *, rate_rps: float | None, seed: int | None) -> Scenario:
    """Return the scenario with another rate or seed. Raises `UsageError` on a rate that cannot be."""
    if rate_rps is not None:
        load = Load(rate_rps, scenario.load.journeys, scenario.load.arrivals)
        scenario = replace(scenario, load=load)
    return scenario if seed is None else replace(scenario, seed=seed)


def _line(error: Exception, path: Path) -> str:
    """Return ", line N" of the innermost frame in the scenario's own file."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {frames[-1].lineno}" if frames else ""
