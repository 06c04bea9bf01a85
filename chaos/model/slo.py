"""Service level objectives as values, and the interval that decides them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Slo:
    """A fraction of arrivals that must be good.

    `availability`: good = answered ok or degraded. `latency`: good = answered (ok or degraded) within
    `threshold_ms` counted from the intended arrival. `objective` is the good fraction that is promised.
    """

    name: str
    kind: Literal["availability", "latency"]
    objective: float
    threshold_ms: float = 0.0

    @property
    def max_bad(self) -> float:
        """The bad fraction that the objective allows."""
        return 1.0 - self.objective


@dataclass(frozen=True, slots=True)
class Interval:
    """A fraction (0..1) or a ratio with its confidence bounds."""

    estimate: float
    low: float
    high: float


def wilson(bad: int, total: int, z: float = Z_95) -> Interval:
    """Return the Wilson score interval of `bad` out of `total`; the whole of 0..1 when there is no data.

    Source: E. B. Wilson, JASA 22 (1927). With 0 bad, 3,838 arrivals bring the upper bound to 0.1 %.
    """
    if total <= 0:
        return Interval(0.0, 0.0, 1.0)
    p = bad / total
    scale = 1 + z * z / total
    centre = (p + z * z / (2 * total)) / scale
    half = z * sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / scale
    return Interval(p, 0.0 if bad == 0 else max(0.0, centre - half), min(1.0, centre + half))
