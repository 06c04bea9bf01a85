"""The broker takes tasks and its answers are lost; then the connections are cut. Tasks are gone, and must be found."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Blackhole
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST

SCENARIO = Scenario(
    name="broker-cut",
    claim="While what the broker answers is lost, and the heal cuts every connection to it, tasks "
    "vanish on their way to the worker; every accepted video is processed exactly once all "
    "the same.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Blackhole("redis-broker", direction="downstream"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        AlertFires("DependencyDown", labels=(("dependency", "redis-broker"),), within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
