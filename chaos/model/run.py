"""The plan and the result of a run, as they stand in `plan.json` and `run.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from chaos.model.verdict import Finding, Verdict

RUN_SCHEMA = "chaosbed/run/1"
PLAN_SCHEMA = "chaosbed/plan/1"


@dataclass(frozen=True, slots=True)
class PhaseWindow:
    """A phase as it was planned: seconds from the start of the load."""

    name: str
    start_s: float
    end_s: float
    load_factor: float
    faults: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`plan.json`: what the run intends, written before anything happens.

    `anchor_wall` is the wall-clock time (Unix seconds) of t = 0 and `anchor_monotonic` the same instant on
    CLOCK_MONOTONIC; every other time in the folder counts from there.
    """

    scenario: str
    claim: str
    seed: int
    time_scale: float
    runtime: str
    rate_rps: float
    arrivals: str
    journeys: tuple[tuple[str, float], ...]
    phases: tuple[PhaseWindow, ...]
    intended: int
    topology_digest: str
    anchor_wall: float
    anchor_monotonic: float
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    settings: tuple[tuple[str, str, str], ...] = ()
    """Component, name and value of what was set otherwise than the topology says."""
    schema: str = PLAN_SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `plan.json`."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Plan:
        """Build a plan from `to_json`'s object."""
        phases = tuple(PhaseWindow(**{**p, "faults": tuple(p["faults"])}) for p in data["phases"])
        journeys = tuple((str(n), float(w)) for n, w in data["journeys"])
        settings = tuple((str(c), str(n), str(v)) for c, n, v in data.get("settings", ()))
        return Plan(**{**data, "phases": phases, "journeys": journeys, "settings": settings})

    def window(self, phase: str) -> tuple[float, float]:
        """Return (start, end) of a phase in seconds; "run" is everything after the warm-up."""
        for part in self.phases:
            if part.name == phase:
                return part.start_s, part.end_s
        first = self.phases[0]
        return (first.end_s if first.name == "warm-up" else first.start_s), self.phases[-1].end_s


@dataclass(frozen=True, slots=True)
class InjectionRecord:
    """One fault as it went: asked, confirmed by read-back, witnessed, healed; None where it did not happen.

    `witness` holds the numbers that show real traffic was touched, with `touched` as their conclusion.
    """

    id: str
    fault: dict[str, Any]
    target: str
    phase: str
    asked_s: float
    confirmed_s: float | None
    healed_s: float | None
    witness: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One alert of the scorecard: what was expected and what was seen, in seconds; None where it never was.

    `expected` is "fires", "silent", "allowed" or "always". `detect_s` counts from the injection's confirmation.
    """

    name: str
    labels: dict[str, str]
    expected: str
    fired_s: float | None
    resolved_s: float | None
    detect_s: float | None
    delivered_s: float | None = None
    resolve_delivered_s: float | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """`run.json`: the verdict and all that it stands on."""

    scenario: str
    claim: str
    verdict: Verdict
    started_at: str
    runtime: str
    time_scale: float
    seed: int
    findings: tuple[Finding, ...]
    injections: tuple[InjectionRecord, ...]
    alerts: tuple[AlertRecord, ...]
    timings: dict[str, float]
    honesty: dict[str, Any]
    arrivals: dict[str, int]
    environment: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    schema: str = RUN_SCHEMA

    @property
    def exit_code(self) -> int:
        """The exit code that this verdict ends the process with."""
        return self.verdict.exit_code

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `run.json`."""
        data = {**asdict(self), "verdict": self.verdict.value, "exit_code": self.exit_code}
        data["findings"] = [f.to_json() for f in self.findings]
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> RunResult:
        """Build a result from `to_json`'s object."""
        values = {k: v for k, v in data.items() if k != "exit_code"}
        values["verdict"] = Verdict(values["verdict"])
        values["findings"] = tuple(Finding.from_json(f) for f in values["findings"])
        values["injections"] = tuple(InjectionRecord(**i) for i in values["injections"])
        values["alerts"] = tuple(AlertRecord(**a) for a in values["alerts"])
        return RunResult(**values)
