"""The object store takes connections and never answers: the first callers wait, the breaker spares the others."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    BreakerOpens,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Blackhole
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CREATORS, NOTHING_LOST, THUMBNAILS_ARE_COPIES, UPLOADS_ARE_PINNED

SCENARIO = Scenario(
    name="s3-blackhole",
    claim="While the object store never answers, uploads are kept locally and reads come from local "
    "copies; afterwards all of it is in the store, whole and once.",
    load=CREATORS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Blackhole("s3"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        BreakerOpens("s3", phase="fault", within_s=2.0, component="app"),
        THUMBNAILS_ARE_COPIES,
        UPLOADS_ARE_PINNED,
        AlertFires("DependencyDown", labels=(("dependency", "s3"),), within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
        *NOTHING_LOST,
    ),
)
