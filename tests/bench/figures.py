"""The arithmetic: ratios within a round, their median with its interval, and what that says about a promise."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from chaos.model.slo import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ERROR = 0.05
"""An interval is wrong once in twenty, or more seldom."""
MIN_ROUNDS = 6
"""With fewer no interval of order statistics is that sure, not even from the smallest to the largest."""
MAX_RELATIVE_WIDTH = 0.5
"""A wider interval says that the machine was measured."""
STARVED_BELOW = 0.8
"""A server that got less than this of a core was not what limited the throughput: the machine was busy."""
MAX_STARVED = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """What one server did in one round."""

    requests: int
    wall_s: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        """Return requests per second."""
        return self.requests / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Return the server's CPU time per request in microseconds."""
        return self.cpu_s / self.requests * 1e6

    @property
    def cores(self) -> float:
        """Return how much of a core the server had."""
        return self.cpu_s / self.wall_s


@dataclass(frozen=True, slots=True)
class Round:
    """All of them, one right after the other."""

    instrumented: Sample
    bare: Sample
    usual: Sample
    collected: Sample
    sparing: Sample


class Judgement(StrEnum):
    """What the rounds say about a promise."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNDECIDED = "undecided"


EXIT_CODES = {Judgement.HOLDS: 0, Judgement.BROKEN: 1, Judgement.UNDECIDED: 3}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The instrumented application against another; above 1 it is the better one, in both ratios."""

    other: str
    at_least: float | None
    throughput: Interval
    cpu: Interval
    judgement: Judgement | None
    """None where nothing is promised."""


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median and the narrowest pair of order statistics around it that is wrong at most once in twenty.

    Nothing is assumed about how the values are spread: the k-th smallest lies above the true median as often as fewer
    than k of n tosses of a coin show heads.
    """
    count = len(values)
    if count < MIN_ROUNDS:
        raise ValueError(f"{count} rounds are too few for an interval; {MIN_ROUNDS} are needed")
    ordered = sorted(values)
    depth = 1
    while 2 * _at_most(depth, count) <= MAX_ERROR:
        depth += 1
    return Interval(median(ordered), ordered[depth - 1], ordered[count - depth])


def _at_most(heads: int, tosses: int) -> float:
    """Return how probable it is that so many tosses show at most so many heads."""
    ways: int = sum(math.comb(tosses, k) for k in range(heads + 1))
    return float(ways / 2**tosses)


def judge(ratio: Interval, at_least: float, *, starved: float = 0.0) -> Judgement:
    """Say whether `ratio` is at least `at_least`; `starved` is the share of samples that the machine held back."""
    if starved > MAX_STARVED or (ratio.high - ratio.low) > MAX_RELATIVE_WIDTH * ratio.estimate:
        return Judgement.UNDECIDED
    if ratio.low >= at_least:
        return Judgement.HOLDS
    return Judgement.BROKEN if ratio.high < at_least else Judgement.UNDECIDED


def starved_share(rounds: Sequence[Round]) -> float:
    """Return the share of samples in which the server did not get its core."""
    samples: list[Sample] = [getattr(each, field.name) for each in rounds for field in fields(each)]
    return sum(sample.cores < STARVED_BELOW for sample in samples) / len(samples)


def compare(rounds: Sequence[Round], other: str, at_least: float | None) -> Comparison:
    """Compare the instrumented application with `other`, a name of `Round`, round by round."""
    pairs: list[tuple[Sample, Sample]] = [(r.instrumented, getattr(r, other)) for r in rounds]
    throughput = median_interval([ours.per_second / theirs.per_second for ours, theirs in pairs])
    cpu = median_interval([theirs.cpu_us / ours.cpu_us for ours, theirs in pairs])
    judgement = (
        None if at_least is None else judge(throughput, at_least, starved=starved_share(rounds))
    )
    return Comparison(other, at_least, throughput, cpu, judgement)


def worst(judgements: Sequence[Judgement]) -> Judgement:
    """Return what holds for all: one broken promise is enough, then one undecided one."""
    for each in (Judgement.BROKEN, Judgement.UNDECIDED):
        if each in judgements:
            return each
    return Judgement.HOLDS
