"""Redis away: every answer comes from the database, says so, and stays fast; logins go on."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    AnsweredWith,
    BreakerOpens,
    Degrades,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Refuse
from chaos.model.scenario import Phase, Scenario
from scenarios.system import CACHED, LISTENERS

DEPENDENCY = (("dependency", "redis-cache"),)

SCENARIO = Scenario(
    name="redis-down",
    claim="While Redis refuses connections, cached routes answer from the database, degraded but fast "
    "and without errors, and logins with a code go on.",
    load=LISTENERS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Refuse("redis-cache"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        Degrades("cache", phase="fault", routes=CACHED, min_share=0.98),
        # About 40 logins in the fault, so this is what an interval can show.
        AnsweredWith(("login_code",), (200,), phase="fault", min_share=0.85),
        BreakerOpens("redis-cache", phase="fault", within_s=1.0),
        AlertFires("CacheDown", labels=DEPENDENCY, within_s=8),
        AlertFires("DependencyDown", labels=DEPENDENCY, within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(3.0),
    ),
)
