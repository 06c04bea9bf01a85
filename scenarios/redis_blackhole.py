"""Redis accepts and never answers: the breaker must spare users the wait."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    BreakerOpens,
    Degrades,
    LatencyRatio,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Blackhole
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CACHED, UNHURRIED

DEPENDENCY = (("dependency", "redis-cache"),)

SCENARIO = Scenario(
    name="redis-blackhole",
    claim="While Redis accepts connections and never answers, the breaker opens within a second and cached routes "
    "stay about as fast as before.",
    load=UNHURRIED,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 12),
        Phase("fault", 19, faults=(Blackhole("redis-cache"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        Degrades("cache", phase="fault", routes=CACHED, min_share=0.95),
        BreakerOpens("redis-cache", phase="fault", within_s=1.0),
        LatencyRatio(
            "fault",
            baseline="baseline",
            routes=CACHED,
            max_ratio=1.5,
            after_breaker="redis-cache",
            control="recovery",
        ),
        AlertFires("CacheDown", labels=DEPENDENCY, within_s=8),
        AlertFires("DependencyDown", labels=DEPENDENCY, within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(3.0),
    ),
)
