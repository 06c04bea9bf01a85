"""The object store answers late: nothing fails, nothing is lost, and nobody waits much longer."""

from __future__ import annotations

from chaos.model.expectations import (
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Latency
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST

SCENARIO = Scenario(
    name="s3-slow",
    claim="While every answer of the object store comes 200 ms late, uploads and reads go on within "
    "their objectives, and no acknowledged write is lost.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Latency("s3", delay_ms=200, jitter_ms=50),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
