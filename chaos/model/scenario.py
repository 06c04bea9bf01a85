"""A scenario: one claim, its load, its phases and its expectations, as a pure value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chaos.errors import UsageError, unknown
from chaos.model.expectations import RUN, Expectation

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from chaos.model.invariants import Invariant
    from chaos.model.reads import FinalRead
    from chaos.model.slo import Slo

WARM_UP = "warm-up"
MAX_RATE_RPS = 2_000.0
MAX_RUN_S = 1_800.0
MAX_SETTLE_S = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """Open-loop load: `rate_rps` arrivals a second, journeys drawn by weight."""

    rate_rps: float
    journeys: tuple[tuple[str, float], ...]
    arrivals: Literal["poisson", "uniform"] = "poisson"

    def __post_init__(self) -> None:
        """Refuse a rate that one generator cannot hold and journeys without weight."""
        if not 0 <= self.rate_rps <= MAX_RATE_RPS:
            raise UsageError(
                f"rate {self.rate_rps}; expected 0 to {MAX_RATE_RPS:.0f} arrivals a second"
            )
        if not self.journeys or any(weight <= 0 for _, weight in self.journeys):
            raise UsageError("load has no journeys; expected (name, weight > 0) pairs")


@dataclass(frozen=True, slots=True)
class Phase:
    """A named slice of time with the faults in force during it and a factor on the load's rate."""

    name: str
    duration_s: float
    faults: tuple[Fault, ...] = ()
    load_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a component's environment that differs in this run from what the topology says."""

    component: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """Name, one-sentence claim, load, phases, expectations, seed. Raises `UsageError` on nonsense.

    Within `settle_s` after load and faults the system must have done what it still had to do; then it is read.
    `settings` hold for the whole run: the components that they belong to are started again with them before it, and
    without them after it.
    """

    name: str
    claim: str
    load: Load
    phases: tuple[Phase, ...]
    expectations: tuple[Expectation, ...]
    seed: int = 1
    settle_s: float = 30.0
    settings: tuple[Setting, ...] = ()

    def __post_init__(self) -> None:
        """Check what can be checked without a system: names, lengths, references to phases."""
        names = [p.name for p in self.phases]
        if len(set(names)) != len(names) or RUN in names:
            raise UsageError(
                f"scenario {self.name!r}: phase names must differ and not be {RUN!r}: {names}"
            )
        for phase in self.phases:
            if not 0 < phase.duration_s <= MAX_RUN_S or not 0 <= phase.load_factor <= 100:  # noqa: PLR2004 (bounds)
                raise UsageError(
                    f"scenario {self.name!r}, phase {phase.name!r}: length or load factor out of range"
                )
        if not 0 <= self.settle_s <= MAX_SETTLE_S:
            raise UsageError(
                f"scenario {self.name!r}: settle_s={self.settle_s:g}; expected 0 to {MAX_SETTLE_S:g}"
            )
        if not self.expectations:
            raise UsageError(
                f"scenario {self.name!r} expects nothing, so it could never fail; add an expectation"
            )
        for expectation in self.expectations:
            for attribute in ("phase", "baseline", "control"):
                name = getattr(expectation, attribute, RUN) or RUN
                if name != RUN and name not in names:
                    where = f" in {type(expectation).__name__} of scenario {self.name!r}"
                    raise unknown("phase", name, names, where=where)

    @property
    def duration_s(self) -> float:
        """The length of all phases together, in seconds."""
        return sum(p.duration_s for p in self.phases)

    def window(self, phase: str) -> tuple[float, float]:
        """Return (start, end) of a phase in seconds from the start of the load; RUN is all but the warm-up."""
        start = 0.0
        for part in self.phases:
            if phase == part.name:
                return start, start + part.duration_s
            start += part.duration_s
        first = self.phases[0]
        return (first.duration_s if first.name == WARM_UP else 0.0), start


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """What the engine must know of one alert rule, in production seconds.

    `detect_s`: from the onset of a total failure to firing; `resolve_s`: from the heal to resolved. Both scale
    with S. `always` marks the Watchdog, which fires all the time and proves the pipeline.
    """

    name: str
    detect_s: float
    resolve_s: float
    severity: Literal["page", "ticket", "none"]
    labels: tuple[str, ...] = ()
    always: bool = False


@dataclass(frozen=True, slots=True)
class System:
    """What scenarios are written against: SLOs, alerts, breakers, routes, journeys of the system under test.

    `reads` are what invariants can be judged by; the system is at rest when none of those in `settles` gives a row.
    """

    slos: tuple[Slo, ...]
    alerts: tuple[AlertSpec, ...]
    breakers: tuple[str, ...]
    features: tuple[str, ...]
    journeys: tuple[str, ...]
    routes: tuple[str, ...]
    reads: tuple[FinalRead, ...] = ()
    settles: tuple[str, ...] = ()
    invariants: tuple[Invariant, ...] = ()

    def slo(self, name: str) -> Slo:
        """Return the SLO called `name`, or raise `UsageError` with the nearest name."""
        for slo in self.slos:
            if slo.name == name:
                return slo
        raise unknown("SLO", name, (s.name for s in self.slos))

    def alert(self, name: str) -> AlertSpec:
        """Return the alert called `name`, or raise `UsageError` with the nearest name."""
        for alert in self.alerts:
            if alert.name == name:
                return alert
        raise unknown("alert", name, (a.name for a in self.alerts))

    def invariant(self, name: str) -> Invariant:
        """Return the invariant called `name`, or raise `UsageError` with the nearest name."""
        for invariant in self.invariants:
            if invariant.name == name:
                return invariant
        raise unknown("invariant", name, (i.name for i in self.invariants))

    def read(self, name: str) -> FinalRead:
        """Return the read called `name`, or raise `UsageError` with the nearest name."""
        for read in self.reads:
            if read.name == name:
                return read
        raise unknown("read", name, (r.name for r in self.reads))
