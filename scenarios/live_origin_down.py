"""The live origin away: viewers of the channel get its last recording, and are told."""

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
from scenarios.system import AUDIENCE, NOTHING_LOST, PLAYLIST

SCENARIO = Scenario(
    name="live-origin-down",
    claim="While the live origin refuses connections, viewers get the recording of before instead "
    "of errors, and nothing else notices.",
    load=AUDIENCE,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Refuse("live-origin"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        BreakerOpens("live-origin", phase="fault", within_s=3.0, component="app"),
        Degrades("live", phase="fault", routes=(PLAYLIST,), min_share=0.9, max_bad_share=0.05),
        AlertFires("DependencyDown", labels=(("dependency", "live-origin"),), within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
