"""The broker away: small work is done by the application itself, and each video once."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    BreakerOpens,
    Degrades,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Refuse
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST, UPLOAD

SCENARIO = Scenario(
    name="broker-down",
    claim="While the broker refuses connections, uploads go on and say that their work is done "
    "otherwise; every accepted video is processed exactly once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Refuse("redis-broker"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        BreakerOpens("redis-broker", phase="fault", within_s=4.0, component="app"),
        Degrades("tasks", phase="fault", routes=(UPLOAD,), min_share=0.6, max_bad_share=0.2),
        AlertFires("DependencyDown", labels=(("dependency", "redis-broker"),), within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
