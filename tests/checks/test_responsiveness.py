"""Claims about probes and histograms: the process answered, its loop turned, and silence proves neither."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from chaos.checks.responsiveness import (
    PROBE_LATENCY,
    PROBE_OWN_LAG,
    metric_quantile_at_most,
    probe_answers,
)
from chaos.errors import UsageError
from chaos.model.evidence import SAMPLE_COLUMNS, Evidence
from chaos.model.expectations import MetricQuantileAtMost, ProbeAnswers
from chaos.model.verdict import Verdict
from tests.checks.evidence import SYSTEM, evidence, json_labels

PROBE = ProbeAnswers("fault", within_ms=100)
LAG = MetricQuantileAtMost("loop_lag_seconds", 0.99, 0.05, "fault")
FAULT_S = (12.0, 32.0)
Row = tuple[str, str, float, float]


def sampled(rows: list[Row]) -> Evidence:
    """Return the good run with these samples."""
    return evidence(samples=pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS)))


def probes(count: int = 200, **changed: tuple[float, float]) -> list[Row]:
    """Return `count` probes over the fault phase that took 5 ms with 1 ms of own lag.

    `changed` maps "at_N" to another (latency, own lag) in ms of probe N.
    """
    rows: list[Row] = []
    labels = json_labels(path="/livez")
    for i in range(count):
        t_s = FAULT_S[0] + (i + 0.5) * (FAULT_S[1] - FAULT_S[0]) / count
        took, lag = changed.get(f"at_{i}", (5.0, 1.0))
        rows += [(PROBE_LATENCY, labels, t_s, took), (PROBE_OWN_LAG, labels, t_s, lag)]
    return rows


def test_a_path_that_always_answers_in_time_passes() -> None:
    """200 probes of 5 ms: PASS, and the slowest is told."""
    finding = probe_answers(PROBE, sampled(probes(at_7=(99.0, 0.0))), SYSTEM)

    assert finding.verdict is Verdict.PASS
    assert finding.measured == 99.0


@pytest.mark.parametrize("took", [101.0, 1_000.0, math.inf])
def test_one_probe_too_late_breaks_the_claim(took: float) -> None:
    """Always means always: slow, given up, or no 200 at all."""
    finding = probe_answers(PROBE, sampled(probes(at_3=(took, 0.0))), SYSTEM)

    assert finding.verdict is Verdict.FAIL


def test_a_late_prober_proves_nothing_against_the_process() -> None:
    """150 ms of which 80 were the prober's own is INCONCLUSIVE; of which 20 were its own is a FAIL."""
    own = probe_answers(PROBE, sampled(probes(at_3=(150.0, 80.0))), SYSTEM)
    theirs = probe_answers(PROBE, sampled(probes(at_3=(150.0, 20.0))), SYSTEM)

    assert own.verdict is Verdict.INCONCLUSIVE
    assert theirs.verdict is Verdict.FAIL


def test_few_probes_prove_nothing() -> None:
    """No probe, too few, or none of this path or phase: INCONCLUSIVE."""
    elsewhere = ProbeAnswers("fault", within_ms=100, path="/readyz")
    early = ProbeAnswers("baseline", within_ms=100)

    assert probe_answers(PROBE, evidence(), SYSTEM).verdict is Verdict.INCONCLUSIVE
    assert probe_answers(PROBE, sampled(probes(99)), SYSTEM).verdict is Verdict.INCONCLUSIVE
    assert probe_answers(elsewhere, sampled(probes()), SYSTEM).verdict is Verdict.INCONCLUSIVE
    assert probe_answers(early, sampled(probes()), SYSTEM).verdict is Verdict.INCONCLUSIVE


def histogram(*reads: tuple[float, float, float, float]) -> list[Row]:
    """Return samples of a histogram: each read is (time, count up to 0.01, up to 0.05, in all)."""
    rows: list[Row] = []
    for t_s, low, limit, total in reads:
        for bound, count in (("0.01", low), ("0.05", limit), ("+Inf", total)):
            rows.append(("loop_lag_seconds_bucket", json_labels(le=bound), t_s, count))
    return rows


def test_a_quantile_is_the_difference_between_two_reads() -> None:
    """What was observed before the phase does not count: 1,000 slow ones then, none of 1,000 now."""
    rows = histogram((11.9, 0, 0, 1_000), (20, 500, 500, 1_500), (31.9, 990, 1_000, 2_000))
    finding = metric_quantile_at_most(LAG, sampled(rows), SYSTEM)

    assert finding.verdict is Verdict.PASS
    assert (finding.measured, finding.unit) == (0.01, "s")
    assert "0 % of 1000 observations over 0.05" in finding.sentence


def test_the_first_moment_of_a_phase_counts() -> None:
    """50 slow ones between the last read before the phase and the first in it are seen."""
    rows = histogram((11.9, 0, 0, 0), (12.1, 0, 0, 50), (31.9, 950, 950, 1_000))

    assert metric_quantile_at_most(LAG, sampled(rows), SYSTEM).verdict is Verdict.FAIL


def test_a_quantile_is_judged_by_its_interval() -> None:
    """Over 1 % by far: FAIL; right at 1 %, or 300 observations without one over: INCONCLUSIVE."""
    cases = {
        (950, 1_000): Verdict.FAIL,
        (990, 1_000): Verdict.INCONCLUSIVE,
        (300, 300): Verdict.INCONCLUSIVE,
        (381, 381): Verdict.PASS,
    }
    for (within, total), verdict in cases.items():
        rows = histogram((11.9, 0, 0, 0), (31.9, within, within, total))
        assert metric_quantile_at_most(LAG, sampled(rows), SYSTEM).verdict is verdict


def test_a_limit_inside_a_bucket_is_not_decided_by_what_lies_in_it() -> None:
    """Observations between 0.01 and 0.05 are neither over 0.03 nor under it."""
    claim = MetricQuantileAtMost("loop_lag_seconds", 0.99, 0.03, "fault")
    between = histogram((11.9, 0, 0, 0), (31.9, 900, 1_000, 1_000))
    over = histogram((11.9, 0, 0, 0), (31.9, 900, 900, 1_000))
    under = histogram((11.9, 0, 0, 0), (31.9, 1_000, 1_000, 1_000))

    verdicts = [
        metric_quantile_at_most(claim, sampled(rows), SYSTEM).verdict
        for rows in (between, over, under)
    ]
    assert verdicts == [Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.PASS]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        histogram((5, 10, 10, 10), (11, 900, 900, 900)),
        histogram((20, 900, 900, 900)),
        histogram((11.9, 900, 900, 900), (31.9, 900, 900, 900)),
        histogram((11.9, 900, 900, 900), (20, 0, 0, 0), (31.9, 1_800, 1_800, 1_800)),
    ],
    ids=["none", "before the phase", "read once", "nothing observed", "started anew"],
)
def test_a_histogram_that_shows_nothing_is_never_a_pass(rows: list[Row]) -> None:
    """An absent family, one read, no observation or a process that was started anew are INCONCLUSIVE."""
    finding = metric_quantile_at_most(LAG, sampled(rows), SYSTEM)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.measured is None


def test_a_probe_or_quantile_that_cannot_be_is_refused() -> None:
    """No probes at all, or a quantile beyond the range, are refused when the scenario is built."""
    with pytest.raises(UsageError, match="at least 1"):
        ProbeAnswers("fault", within_ms=100, min_probes=0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        MetricQuantileAtMost("loop_lag_seconds", 99, 0.05, "fault")
