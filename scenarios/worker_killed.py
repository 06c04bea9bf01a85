"""The worker is killed three times in the middle of its work: what it had begun is done by its successor, once."""

from __future__ import annotations

from chaos.model.expectations import (
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Kill
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST

SCENARIO = Scenario(
    name="worker-killed",
    claim="The worker gets SIGKILL three times while it transcodes; visitors do not notice, and "
    "every accepted video is processed exactly once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 7),
        Phase("first kill", 3, faults=(Kill("worker"),)),
        Phase("between", 3),
        Phase("second kill", 3, faults=(Kill("worker"),)),
        Phase("again", 3),
        Phase("third kill", 3, faults=(Kill("worker"),)),
        Phase("recovery", 15),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95"),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
    settle_s=45,  # what was begun is free again when the lease of the dead has ended, after 30 s
)
