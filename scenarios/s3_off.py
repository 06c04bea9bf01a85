"""The operator's switch: no object store, the local file system alone."""

from __future__ import annotations

from chaos.model.expectations import (
    Degrades,
    InvariantHolds,
    OtherAlertsSilent,
    SloHolds,
)
from chaos.model.scenario import Phase, Scenario, Setting
from scenarios.system import CREATORS, UPLOAD

SCENARIO = Scenario(
    name="s3-off",
    claim="With the object store switched off uploads are kept and read locally, are processed "
    "once all the same, and no objective breaks.",
    load=CREATORS,
    phases=(Phase("warm-up", 3), Phase("off", 30)),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95"),
        Degrades(
            "storage",
            phase="off",
            routes=(UPLOAD,),
            min_share=0.8,
            max_bad_share=0.2,
            journeys=("upload",),
        ),
        InvariantHolds("processed-once", min_count=30),
        InvariantHolds("views-conserved", min_count=500),
        OtherAlertsSilent(),
    ),
    settings=(
        *(Setting(name, "FEATURE_S3_ENABLED", "false") for name in ("app", "worker", "relay")),
    ),
)
