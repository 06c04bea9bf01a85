"""The object store away: thumbnails come from local copies or a placeholder, uploads wait in the local store."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Refuse
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST, THUMBNAILS_ARE_COPIES, UPLOADS_ARE_PINNED

SCENARIO = Scenario(
    name="s3-down",
    claim="While the object store refuses connections, thumbnails come from local copies and "
    "uploads are kept locally; afterwards all of it is in the store, whole and once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Refuse("s3"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        THUMBNAILS_ARE_COPIES,
        UPLOADS_ARE_PINNED,
        AlertFires("DependencyDown", labels=(("dependency", "s3"),), within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
