"""Redis away while attackers are at the door: limits and replay guard fall back, and keep out whom they must."""

from __future__ import annotations

from chaos.model.expectations import (
    AlertFires,
    AnsweredWith,
    BreakerOpens,
    Degrades,
    NeverAnswered,
    OtherAlertsSilent,
    RecoversWithin,
    SloHolds,
)
from chaos.model.faults import Refuse
from chaos.model.scenario import Phase, Scenario
from scenarios.system import BESIEGED, LOGIN

DEPENDENCY = (("dependency", "redis-cache"),)

SCENARIO = Scenario(
    name="auth-without-redis",
    claim="While Redis refuses connections, nobody enrolled gets in without a fresh code of his own, the limits on "
    "guessing still hold, and honest listeners and visitors log in.",
    load=BESIEGED,
    phases=(
        Phase("warm-up", 3),
        Phase("baseline", 8),
        Phase("fault", 17, faults=(Refuse("redis-cache"),)),
        Phase("recovery", 12),
    ),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95", phase="fault"),
        NeverAnswered(("intruder",), (200,)),
        NeverAnswered(("replay",), (200,), min_arrivals=30),
        AnsweredWith(("guesser",), (429,), phase="fault", min_share=0.9),
        AnsweredWith(("login_code",), (200,), phase="fault", min_share=0.9),
        # A guesser is refused by the local count before Redis would be asked, so nothing is degraded for him.
        Degrades(
            "auth",
            phase="fault",
            routes=(LOGIN,),
            min_share=0.95,
            max_bad_share=0.05,
            journeys=("login_code", "login_plain", "intruder"),
        ),
        BreakerOpens("redis-cache", phase="fault", within_s=1.0),
        AlertFires("CacheDown", labels=DEPENDENCY, within_s=8),
        AlertFires("DependencyDown", labels=DEPENDENCY, within_s=4),
        OtherAlertsSilent(),
        RecoversWithin(3.0),
    ),
    seed=5,  # with it the guesser comes often enough during the fault for 90 % to be shown
)
