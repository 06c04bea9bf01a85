"""The one critical dependency away: the SLO breaks, the pages fire, and the way back is short."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    BreakerOpens,
    OtherAlertsSilent,
    RecoversWithin,
    SloBreaks,
)
from chaos.model.faults import Refuse
from chaos.model.scenario import Phase, Scenario
from scenarios.system import WRITERS

DEPENDENCY = (("dependency", "postgres"),)

SCENARIO = Scenario(
    name="database-down",
    claim="While the database refuses connections, requests fail fast and the pages fire; within 5 s of the heal "
    "the backend is healthy again without a restart.",
    load=WRITERS,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 15, faults=(Refuse("postgres"),)),
        # The slow burn-rate window is 30 min: 30 s at the default time scale until its page can resolve.
        Phase("recovery", 37),
    ),
    expectations=(
        SloBreaks("availability", phase="fault"),
        BreakerOpens("postgres", phase="fault", within_s=1.0),
        AlertFires("DatabaseDown", labels=DEPENDENCY, within_s=4),
        AlertFires("DependencyDown", labels=DEPENDENCY, within_s=4, delivered=False),
        AlertFires("HighErrorRate", within_s=9, resolves_within_s=9),
        AlertFires(
            "ErrorBudgetBurnPage", labels=(("window", "fast"),), within_s=5, resolves_within_s=9
        ),
        AlertFires(
            "ErrorBudgetBurnPage", labels=(("window", "slow"),), within_s=10, resolves_within_s=36
        ),
        OtherAlertsSilent(),
        RecoversWithin(5.0),
    ),
)
