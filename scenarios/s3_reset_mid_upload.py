"""Connections to the object store break in the middle of an upload, again and again."""

from __future__ import annotations

from chaos.model.expectations import (
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import LimitBytes
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST, UPLOADS_ARE_PINNED

SCENARIO = Scenario(
    name="s3-reset-mid-upload",
    claim="While every connection to the object store is cut after 20 KB, so in the middle of each "
    "clip, uploads are kept locally and are in the store afterwards, whole and once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(LimitBytes("s3", limit_bytes=20_000, direction="upstream"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        UPLOADS_ARE_PINNED,
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
