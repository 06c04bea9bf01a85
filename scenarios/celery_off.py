"""The operator's switch: no queue, bounded work inside the application."""

from __future__ import annotations

from chaos.model.expectations import (
    Degrades,
    OtherAlertsSilent,
    SloHolds,
)
from chaos.model.scenario import Phase, Scenario, Setting
from scenarios.system import CREATORS, NOTHING_LOST, UPLOAD

SCENARIO = Scenario(
    name="celery-off",
    claim="With the queue switched off the application does the work itself, says so, and every "
    "accepted video is processed exactly once.",
    load=CREATORS,
    phases=(Phase("warm-up", 3), Phase("off", 30)),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95"),
        Degrades("tasks", phase="off", routes=(UPLOAD,), min_share=0.8, max_bad_share=0.2),
        *NOTHING_LOST,
        OtherAlertsSilent(),
    ),
    settings=(Setting("app", "FEATURE_CELERY_ENABLED", "false"),),
)
