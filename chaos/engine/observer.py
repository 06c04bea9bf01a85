"""What a run tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tick:
    """Where a run stands: seconds gone and left, arrivals so far, faults in force, alerts firing."""

    t_s: float
    left_s: float
    arrivals: int
    bad: int
    degraded: int
    faults: tuple[str, ...]
    alerts: tuple[str, ...]


class Observer(Protocol):
    """Shows a run; the console is one, tests have another."""

    def phase(self, name: str) -> None:
        """Show that a phase begins."""

    def note(self, text: str) -> None:
        """Show one line about what happens now."""

    def tick(self, tick: Tick) -> None:
        """Show progress, about once a second."""
