"""The worker stands still while uploads go on: they wait, nothing is lost, and the backlog is worked off."""

from __future__ import annotations

from chaos.model.expectations import (
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Pause
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST

SCENARIO = Scenario(
    name="queue-backlog",
    claim="While the worker is stopped, uploads are accepted and wait; when it goes on, every one "
    "of them is processed exactly once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Pause("worker"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
    settle_s=60,  # a backlog of half a minute, at the pace of one worker
)
