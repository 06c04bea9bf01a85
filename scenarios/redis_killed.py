"""Redis dies: the cache and the queue lose all that they held, and what was promised must not."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    BreakerOpens,
    Degrades,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Kill
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CACHED, CREATORS, NOTHING_LOST

CACHE = (("dependency", "redis-cache"),)
BROKER = (("dependency", "redis-broker"),)

SCENARIO = Scenario(
    name="redis-killed",
    claim="Redis is killed and comes back empty, cache and queue alike; answers go on, and every "
    "accepted video is processed exactly once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Kill("redis"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        Degrades("cache", phase="fault", routes=CACHED, min_share=0.95),
        BreakerOpens("redis-cache", phase="fault", within_s=1.0, component="app"),
        AlertFires("CacheDown", labels=CACHE, within_s=8),
        AlertFires("DependencyDown", labels=CACHE, within_s=4),
        AlertFires("DependencyDown", labels=BROKER, within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
