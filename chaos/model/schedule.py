"""The open-loop schedule: which journey is due when. A pure function of the plan, so both sides compute it alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model.scenario import Load, Phase


@dataclass(frozen=True, slots=True)
class Due:
    """One intended arrival: its number, due time in seconds from the start of the load, journey, phase and seed."""

    n: int
    due_s: float
    journey: str
    phase: str
    seed: int


def schedule(load: Load, phases: Sequence[Phase], seed: int) -> tuple[Due, ...]:
    """Return every intended arrival in order of its due time.

    Poisson: exponential gaps. Uniform: equal gaps. Each phase is filled at `rate_rps * load_factor`.
    """
    rng = np.random.default_rng(seed)
    names = [name for name, _ in load.journeys]
    weights = np.array([weight for _, weight in load.journeys], dtype=float)
    weights /= weights.sum()
    out: list[Due] = []
    start = 0.0
    for phase in phases:
        rate = load.rate_rps * phase.load_factor
        times = _times(rng, rate, phase.duration_s, poisson=load.arrivals == "poisson")
        journeys = rng.choice(len(names), size=len(times), p=weights)
        seeds = rng.integers(0, 2**31, size=len(times))
        for due, journey, own in zip(times, journeys, seeds, strict=True):
            out.append(
                Due(
                    len(out),
                    round(start + float(due), 6),
                    names[int(journey)],
                    phase.name,
                    int(own),
                )
            )
        start += phase.duration_s
    return tuple(out)


def _times(
    rng: np.random.Generator, rate: float, duration_s: float, *, poisson: bool
) -> np.ndarray:
    if rate <= 0:
        return np.empty(0)
    if not poisson:
        return np.arange(0.5 / rate, duration_s, 1 / rate)
    count = int(rate * duration_s + 10 * (rate * duration_s) ** 0.5 + 20)
    times = np.cumsum(rng.exponential(1 / rate, size=count))
    return times[times < duration_s]
