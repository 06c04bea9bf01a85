"""The control: without a fault every SLO holds, nothing is degraded and no alert fires."""

from __future__ import annotations

from chaos.model.expectations import NotDegraded, OtherAlertsSilent, SloHolds
from chaos.model.scenario import Phase, Scenario
from scenarios.system import EVERYDAY

SCENARIO = Scenario(
    name="steady-state",
    claim="Without any fault the backend keeps its SLOs, nothing is degraded and no alert fires.",
    load=EVERYDAY,
    phases=(Phase("warm-up", 3), Phase("steady", 37)),
    expectations=(
        SloHolds("availability"),
        SloHolds("latency-p95"),
        NotDegraded("steady", max_share=0.001),
        OtherAlertsSilent(),
    ),
)
