"""Arrivals without an end, for people at the web UI: the schedule of a second, one second after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from chaos.model.scenario import MAX_RATE_RPS, Load, Phase
from chaos.model.schedule import Due, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLICE_S = 1.0
MIN_RATE_RPS = 1.0
"""At less, nothing would be due in most seconds, and a rate of 0 would never give its thread back."""


def endless(
    rate_rps: Callable[[], float],
    journeys: tuple[tuple[str, float], ...],
    seed: int,
    arrivals: Literal["poisson", "uniform"] = "poisson",
) -> Iterator[Due]:
    """Yield arrivals for ever, at the rate that `rate_rps` returns when each second begins (1 to 2,000).

    Slices of a Poisson process make a Poisson process; the same seed and rates give the same arrivals.
    """
    n = second = 0
    while True:
        rate = min(max(rate_rps(), MIN_RATE_RPS), MAX_RATE_RPS)
        load = Load(rate, journeys, arrivals)
        for due in schedule(load, [Phase("live", SLICE_S)], seed + second):
            yield replace(due, n=n, due_s=round(due.due_s + second * SLICE_S, 6))
            n += 1
        second += 1
