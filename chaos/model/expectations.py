"""What a scenario claims: frozen values, each judged by one pure function in `chaos.checks`."""

from __future__ import annotations

from dataclasses import dataclass

RUN = "run"
"""The phase name that stands for every phase after the warm-up."""


@dataclass(frozen=True, slots=True)
class SloHolds:
    """The named SLO's bad fraction stays under its limit, upper confidence bound included."""

    slo: str
    phase: str = RUN
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SloBreaks:
    """The named SLO's bad fraction goes over its limit, lower confidence bound included."""

    slo: str
    phase: str
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Degrades:
    """At least `min_share` of the arrivals on `routes` say `X-Degraded: feature`, at most `max_bad_share` fail."""

    feature: str
    phase: str
    routes: tuple[str, ...]
    min_share: float
    max_bad_share: float = 0.01


@dataclass(frozen=True, slots=True)
class NotDegraded:
    """At most `max_share` of the arrivals of `phase` say that they are degraded."""

    phase: str
    max_share: float = 0.0


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """The `quantile` latency of `routes` in `phase` is at most `max_ratio` times the one in `baseline`.

    With `after_breaker` only arrivals due after that breaker opened count.
    """

    phase: str
    baseline: str
    routes: tuple[str, ...]
    max_ratio: float
    quantile: float = 0.95
    after_breaker: str = ""


@dataclass(frozen=True, slots=True)
class BreakerOpens:
    """The breaker opens within `within_s` of the first call that met the fault, and is closed again at the end."""

    breaker: str
    phase: str
    within_s: float


@dataclass(frozen=True, slots=True)
class AlertFires:
    """The alert with these labels fires within `within_s` of the injection and, after the heal, resolves.

    Times are real seconds at the run's time scale. `resolves_within_s` counts from the heal. `delivered` asks for
    the webhook too; an alert that another one inhibits fires without being delivered.
    """

    alert: str
    labels: tuple[tuple[str, str], ...] = ()
    phase: str = "fault"
    within_s: float = 10.0
    resolves_within_s: float = 10.0
    delivered: bool = True


@dataclass(frozen=True, slots=True)
class OtherAlertsSilent:
    """No alert fires outside what the `AlertFires` of the scenario and `allowed` permit."""

    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecoversWithin:
    """From `within_s` after the heal on, every 1 s slice has at most `max_bad_share` bad arrivals.

    With `degraded_counts` an arrival that is still degraded counts as bad here: recovery means healthy again.
    """

    within_s: float
    phase: str = "recovery"
    max_bad_share: float = 0.01
    degraded_counts: bool = True


Expectation = (
    SloHolds
    | SloBreaks
    | Degrades
    | NotDegraded
    | LatencyRatio
    | BreakerOpens
    | AlertFires
    | OtherAlertsSilent
    | RecoversWithin
)
