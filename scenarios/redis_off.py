"""The operator's switch: no Redis. Not an outage, so nobody is called."""

from __future__ import annotations

from chaos.model.expectations import (
    Degrades,
    OtherAlertsSilent,
    SloHolds,
)
from chaos.model.scenario import Phase, Scenario, Setting
from scenarios.system import CACHED, EVERYDAY

SCENARIO = Scenario(
    name="redis-off",
    claim="With the cache switched off every cached route answers from the database, says so, and "
    "keeps its objective.",
    load=EVERYDAY,
    phases=(Phase("warm-up", 3), Phase("off", 30)),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95"),
        Degrades("cache", phase="off", routes=CACHED, min_share=0.99, max_bad_share=0.01),
        OtherAlertsSilent(),
    ),
    settings=(Setting("app", "FEATURE_REDIS_ENABLED", "false"),),
)
