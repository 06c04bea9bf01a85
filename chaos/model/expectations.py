"""What a scenario claims: frozen values, each judged by one pure function in `chaos.checks`."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.errors import UsageError

RUN = "run"
"""The phase name that stands for every phase after the warm-up."""

STATUSES = range(100, 600)


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
    """At least `min_share` of the arrivals on `routes` say `X-Degraded: feature`, at most `max_bad_share` fail.

    With `journeys` only their arrivals count: others may be answered before the feature is asked at all.
    """

    feature: str
    phase: str
    routes: tuple[str, ...]
    min_share: float
    max_bad_share: float = 0.01
    journeys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotDegraded:
    """At most `max_share` of the arrivals of `phase` say that they are degraded."""

    phase: str
    max_share: float = 0.0


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """The `quantile` latency of `routes` in `phase` is at most `max_ratio` times the one in `baseline`.

    With `after_breaker` only arrivals due after that breaker opened count. `control` is a later phase without a fault:
    what is slow there as well is the machine's doing, and no FAIL.
    """

    phase: str
    baseline: str
    routes: tuple[str, ...]
    max_ratio: float
    quantile: float = 0.95
    after_breaker: str = ""
    control: str = ""


@dataclass(frozen=True, slots=True)
class BreakerOpens:
    """The breaker opens within `within_s` of the first call that met the fault, and is closed again at the end.

    With `component` it is that one's breaker: several may guard the same dependency, each with its own.
    """

    breaker: str
    phase: str
    within_s: float
    component: str = ""


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


@dataclass(frozen=True, slots=True)
class NeverAnswered:
    """No arrival of `journeys` is ever answered with one of `statuses`, as nobody may get in without a code.

    One that is breaks the claim, whatever the others got; fewer than `min_arrivals` answers prove nothing.
    """

    journeys: tuple[str, ...]
    statuses: tuple[int, ...]
    phase: str = RUN
    min_arrivals: int = 50

    def __post_init__(self) -> None:
        """Refuse a claim that nothing could break."""
        _answers(self, self.journeys, self.statuses)
        _at_least(self, "min_arrivals", self.min_arrivals, 1)


@dataclass(frozen=True, slots=True)
class AnsweredWith:
    """At least `min_share` of the arrivals of `journeys` are answered with one of `statuses`.

    Judged like an SLO, by the share's interval. An arrival that got no answer counts against the claim.
    """

    journeys: tuple[str, ...]
    statuses: tuple[int, ...]
    phase: str
    min_share: float

    def __post_init__(self) -> None:
        """Refuse a claim that nothing could break, or nothing hold."""
        _answers(self, self.journeys, self.statuses)
        _fraction(self, "min_share", self.min_share)


@dataclass(frozen=True, slots=True)
class ProbeAnswers:
    """Every probe of `path` in `phase` is answered with 200 within `within_ms`; at least `min_probes` were sent."""

    phase: str
    within_ms: float
    path: str = "/livez"
    min_probes: int = 100

    def __post_init__(self) -> None:
        """Refuse a claim that nothing could break."""
        _at_least(self, "min_probes", self.min_probes, 1)


@dataclass(frozen=True, slots=True)
class MetricQuantileAtMost:
    """The `quantile` of what histogram `family` observed during `phase` is at most `limit`, in the family's unit.

    `limit` is best a bucket's bound: what lies in the bucket around another limit is neither over it nor under it.
    """

    family: str
    quantile: float
    limit: float
    phase: str

    def __post_init__(self) -> None:
        """Refuse a quantile that cannot be."""
        _fraction(self, "quantile", self.quantile)


@dataclass(frozen=True, slots=True)
class InvariantHolds:
    """The system's invariant called `name` holds after the run, and at least `min_count` writes were acknowledged.

    Judged by the writes that clients hold a receipt for and by the final reads of the stores; without either it is
    INCONCLUSIVE.
    """

    name: str
    min_count: int = 1

    def __post_init__(self) -> None:
        """Refuse a claim that nothing could break."""
        _at_least(self, "min_count", self.min_count, 1)


def _answers(claim: object, journeys: tuple[str, ...], statuses: tuple[int, ...]) -> None:
    name = type(claim).__name__
    if not journeys:
        raise UsageError(f"{name}: journeys={journeys!r}; expected at least one name")
    wrong = [status for status in statuses if status not in STATUSES]
    if not statuses or wrong:
        raise UsageError(
            f"{name}: statuses={statuses!r}; expected HTTP statuses, {STATUSES[0]} to {STATUSES[-1]}"
        )


def _at_least(claim: object, field: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{type(claim).__name__}: {field}={value}; expected at least {least}")


def _fraction(claim: object, field: str, value: float) -> None:
    if not 0 < value < 1:
        raise UsageError(
            f"{type(claim).__name__}: {field}={value}; expected a fraction between 0 and 1"
        )


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
    | NeverAnswered
    | AnsweredWith
    | ProbeAnswers
    | MetricQuantileAtMost
    | InvariantHolds
)
