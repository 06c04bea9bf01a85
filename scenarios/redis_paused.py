"""Redis hangs: its process is stopped, so connections open and nothing ever answers. The event loop must not notice."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    BreakerOpens,
    Degrades,
    MetricQuantileAtMost,
    OtherAlertsSilent,
    ProbeAnswers,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Pause
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CACHED, EVERYDAY

CACHE = (("dependency", "redis-cache"),)
BROKER = (("dependency", "redis-broker"),)

SCENARIO = Scenario(
    name="redis-paused",
    claim="While Redis hangs, behind the cache and the broker alike, the event loop turns, the process always says "
    "that it lives, and every route keeps its objective.",
    load=EVERYDAY,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Pause("redis"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        MetricQuantileAtMost("event_loop_lag_seconds", 0.99, limit=0.05, phase="fault"),
        ProbeAnswers("fault", within_ms=100, path="/livez"),
        Degrades("cache", phase="fault", routes=CACHED, min_share=0.95),
        BreakerOpens("redis-cache", phase="fault", within_s=1.0),
        AlertFires("CacheDown", labels=CACHE, within_s=8),
        AlertFires("DependencyDown", labels=CACHE, within_s=4),
        AlertFires("DependencyDown", labels=BROKER, within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(3.0),
    ),
)
