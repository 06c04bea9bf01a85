"""The arithmetic of the comparison, on numbers that a person can check."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.model.slo import Interval
from tests.bench.figures import (
    Judgement,
    Round,
    Sample,
    compare,
    judge,
    median_interval,
    starved_share,
    worst,
)


def sample(per_second: float, *, cores: float = 1.0) -> Sample:
    """Build what a server with this rate did in two seconds."""
    return Sample(int(per_second * 2), 2.0, 2.0 * cores)


def rounds(*rates: tuple[float, float, float]) -> list[Round]:
    """Build rounds from the rates of the three that promises are about."""
    return [Round(*(sample(rate) for rate in (*each, *each[1:]))) for each in rates]


def test_a_sample_tells_rate_cpu_time_and_share_of_a_core() -> None:
    """1,000 requests in 2 s with 0.5 s of CPU time: 500 a second, 500 us each, a quarter of a core."""
    one = Sample(1000, 2.0, 0.5)

    assert (one.per_second, one.cpu_us, one.cores) == (500.0, 500.0, 0.25)


def test_the_interval_of_nine_is_the_second_to_the_eighth() -> None:
    """Of nine tosses at most one shows heads in 2 %, at most two in 9 %: the second and the eighth bound the median."""
    interval = median_interval([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])

    assert (interval.low, interval.estimate, interval.high) == (2.0, 5.0, 8.0)


def test_the_interval_of_six_is_everything() -> None:
    """All six on one side of the median happens in 3 %: only the whole range is sure enough."""
    interval = median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])

    assert (interval.low, interval.high) == (1.0, 6.0)


def test_too_few_rounds_have_no_interval() -> None:
    """Five rounds are refused, since even their whole range is wrong once in sixteen."""
    with pytest.raises(ValueError, match="5 rounds are too few"):
        median_interval([1.0] * 5)


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=40))
def test_the_interval_contains_its_median_and_one_outlier_does_not_move_it(
    values: list[float],
) -> None:
    """The median lies within; from nine rounds on, one wild round cannot leave the range of the others."""
    interval = median_interval(values)
    assert interval.low <= interval.estimate <= interval.high

    if len(values) >= 9:
        wild = median_interval([*values[:-1], 1e9])
        assert wild.high <= max(values[:-1])


@pytest.mark.parametrize(
    ("interval", "judgement"),
    [
        (Interval(0.95, 0.90, 0.97), Judgement.HOLDS),
        (Interval(0.95, 0.89, 0.97), Judgement.UNDECIDED),
        (Interval(0.85, 0.80, 0.90), Judgement.UNDECIDED),
        (Interval(0.85, 0.80, 0.89), Judgement.BROKEN),
        (Interval(2.00, 1.40, 2.50), Judgement.UNDECIDED),  # too wide to be about the code
    ],
)
def test_a_promise_holds_only_when_its_whole_interval_does(
    interval: Interval, judgement: Judgement
) -> None:
    """The limit itself is good enough; an interval on both sides of it, or a very wide one, decides nothing."""
    assert judge(interval, 0.9) is judgement


def test_a_busy_machine_decides_nothing() -> None:
    """When most servers did not get their core, the throughput was the machine's."""
    assert judge(Interval(0.95, 0.94, 0.96), 0.9, starved=0.6) is Judgement.UNDECIDED
    assert judge(Interval(0.95, 0.94, 0.96), 0.9, starved=0.4) is Judgement.HOLDS


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that halves its speed from round to round changes no ratio, in throughput or in CPU time."""
    made = rounds(*((950.0 / 2**k, 1000.0 / 2**k, 500.0 / 2**k) for k in range(6)))

    bare, usual = compare(made, "bare", 0.9), compare(made, "usual", 1.5)

    assert bare.throughput.estimate == pytest.approx(0.95, abs=0.02)
    assert usual.throughput.estimate == pytest.approx(1.9, abs=0.04)
    assert bare.cpu.estimate == pytest.approx(bare.throughput.estimate)
    assert (bare.judgement, usual.judgement) == (Judgement.HOLDS, Judgement.HOLDS)


def test_starved_samples_are_counted() -> None:
    """Of five samples one had half a core: a fifth."""
    well = sample(10.0)
    one = Round(well, sample(10.0, cores=0.5), well, well, well)

    assert starved_share([one]) == pytest.approx(1 / 5)


def test_what_promises_nothing_is_not_judged() -> None:
    """A stack that is shown for information has ratios and no judgement."""
    shown = compare(rounds(*[(100.0, 100.0, 50.0)] * 9), "sparing", None)

    assert shown.judgement is None
    assert shown.throughput.estimate == pytest.approx(2.0)


def test_one_broken_promise_outweighs_an_undecided_one() -> None:
    """Broken is a fact whatever else is unknown."""
    assert worst([Judgement.HOLDS, Judgement.UNDECIDED, Judgement.BROKEN]) is Judgement.BROKEN
    assert worst([Judgement.HOLDS, Judgement.UNDECIDED]) is Judgement.UNDECIDED
    assert worst([Judgement.HOLDS]) is Judgement.HOLDS
