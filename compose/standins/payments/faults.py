"""What a test or a scenario has the provider do wrong: bounded in size and time, gone after a restart."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BOUNDS = {
    "duplicate": 5,
    "reorder": 50,
    "delay_ms": 60_000,
    "drop": 1_000,
    "hold_ms": 10_000,
    "cut": 1_000,
    "for_s": 600,
}
DEFAULT_FOR_S = 60


class FaultError(Exception):
    """A fault that is none, or out of bounds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults.

    Of webhooks: `duplicate` further copies of each, `reorder` so many to be sent newest first, `delay_ms` before
    each, the next `drop` lost for good. Of answers: each held for `hold_ms` before its work is done, the next `cut`
    to what changes something cut off after their work was done.
    """

    duplicate: int = 0
    reorder: int = 0
    delay_ms: int = 0
    drop: int = 0
    hold_ms: int = 0
    cut: int = 0
    for_s: int = DEFAULT_FOR_S


class Faults:
    """The faults that are on now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any."""
        self._clock = clock
        self._plan = Plan(for_s=0)
        self._until = 0.0
        self._left = {"drop": 0, "cut": 0}

    @property
    def plan(self) -> Plan:
        """What is on: nothing, after its time is over."""
        return self._plan if self._clock() < self._until else Plan(for_s=0)

    def take_up(self, asked: object) -> None:
        """Replace all faults. Raises `FaultError`."""
        if not isinstance(asked, dict):
            raise FaultError("expected a JSON object of faults")
        known = {one.name for one in fields(Plan)}
        for name, value in asked.items():
            if name not in known:
                raise FaultError(f"unknown fault; expected some of {', '.join(sorted(known))}")
            if type(value) is not int or not 0 <= value <= BOUNDS[name]:
                raise FaultError(f"{name} must be an integer from 0 to {BOUNDS[name]}")
        self._plan = Plan(**asked)
        self._until = self._clock() + self._plan.for_s
        self._left = {"drop": self._plan.drop, "cut": self._plan.cut}

    def use(self, name: str) -> bool:
        """Return whether one of the next `drop` or `cut` is due, and count it."""
        if self._left[name] == 0 or self.plan.for_s == 0:
            return False
        self._left[name] -= 1
        return True

    def to_json(self) -> dict[str, int]:
        """Return what is on and for how long still."""
        plan = self.plan
        left = {name: count if plan.for_s else 0 for name, count in self._left.items()}
        return {**asdict(plan), **left, "for_s": max(0, round(self._until - self._clock()))}
