"""The operator's switch: recordings alone."""

from __future__ import annotations

from chaos.model.expectations import (
    Degrades,
    OtherAlertsSilent,
    SloHolds,
)
from chaos.model.scenario import Phase, Scenario, Setting
from scenarios.system import AUDIENCE, PLAYLIST

SCENARIO = Scenario(
    name="live-off",
    claim="With live streaming switched off viewers get the recording of before, are told, and no "
    "objective breaks.",
    load=AUDIENCE,
    phases=(Phase("warm-up", 3), Phase("off", 30)),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95"),
        Degrades("live", phase="off", routes=(PLAYLIST,), min_share=0.95, max_bad_share=0.05),
        OtherAlertsSilent(),
    ),
    settings=(Setting("app", "FEATURE_LIVE_ENABLED", "false"),),
)
