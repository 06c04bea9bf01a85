"""The numbers of a report, against values worked out by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chaos.model.evidence import load_evidence
from chaos.model.run import InjectionRecord
from chaos.model.verdict import Finding, Verdict
from reports.figures import BIN_S, MAX_BINS, figures
from reports.folder import read_result
from reports.lanes import alert_lanes, breaker_lanes, fault_lanes
from reports.sections import key_numbers, recovery, scorecard
from reports.svg import Scale, curve, ticks
from reports.wording import (
    KIND_TITLES,
    KINDS,
    NONE,
    TIMES,
    amount,
    by_kind,
    fault_text,
    moment,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_bins_hold_every_arrival_once(make_run: Callable[..., Path]) -> None:
    """The stacked picture adds up to the ledger."""
    evidence = load_evidence(make_run())
    bins = figures(evidence).bins

    assert bins.width_s == BIN_S
    assert bins.total.sum() == len(evidence.arrivals)


def test_long_runs_get_wider_bins(make_run: Callable[..., Path]) -> None:
    """The picture stays small however long the run was."""
    folder = make_run()
    plan = (folder / "plan.json").read_text().replace('"end_s": 40.0', '"end_s": 1800.0')
    (folder / "plan.json").write_text(plan)
    bins = figures(load_evidence(folder)).bins

    assert len(bins.start_s) <= MAX_BINS
    assert bins.width_s * len(bins.start_s) >= 1800


def test_unanswered_arrivals_push_the_percentiles_up(make_run: Callable[..., Path]) -> None:
    """An arrival without an answer is infinitely slow; it never disappears from a percentile."""
    bins = figures(load_evidence(make_run(fault_class="timeout"))).bins
    during, before = int(20 / BIN_S), int(10 / BIN_S)

    assert math.isinf(bins.quantiles_ms[0.95][during])
    assert bins.quantiles_ms[0.95][before] < 100


def test_bin_quantiles_equal_numpys(make_run: Callable[..., Path]) -> None:
    """The one-sort quantiles are the nearest-rank ones of each bin."""
    evidence = load_evidence(make_run())
    bins = figures(evidence).bins
    rows = evidence.arrivals
    latency = ((rows["done_s"] - rows["due_s"]) * 1000).to_numpy()
    place = np.floor(rows["due_s"].to_numpy() / BIN_S).astype(int)
    for n in (0, 17, 40, 79):
        for q, found in bins.quantiles_ms.items():
            assert found[n] == pytest.approx(np.quantile(latency[place == n], q, method="higher"))


def test_phases_and_routes_are_counted_apart(make_run: Callable[..., Path]) -> None:
    """The mix of a phase is the sum of its routes, and only cached routes degraded."""
    numbers = figures(load_evidence(make_run()))
    fault, routes = next(pair for pair in numbers.phases if pair[0].name == "fault")

    assert fault.total == sum(r.total for r in routes)
    assert {r.name for r in routes if r.features} == {
        "/api/v1/videos",
        "/api/v1/videos/trending",
        "/api/v1/videos/{video_id}",
    }


def test_missing_arrivals_are_unaccounted(make_run: Callable[..., Path]) -> None:
    """The ledger is held against the plan."""
    folder = make_run()
    evidence = load_evidence(folder)
    evidence.arrivals.iloc[3:].to_parquet(folder / "arrivals.parquet")

    assert figures(load_evidence(folder)).unaccounted == 3


def test_key_numbers_name_detection_recovery_and_the_interval(
    make_run: Callable[..., Path],
) -> None:
    """The tiles hold what people ask first."""
    folder = make_run()
    evidence = load_evidence(folder)
    facts = {f.name: f for f in key_numbers(read_result(folder), evidence, figures(evidence))}

    assert facts["First alert"].value == "1.94 s"
    assert facts["Recovered in"].value == "0.50 s"
    assert facts["Bad"].note == "0 of 3,962; 95 % CI 0 to 0.0969 %"


def test_alert_rows_show_pending_firing_and_deliveries(make_run: Callable[..., Path]) -> None:
    """Expected alerts come first, the one that always fires last, silent ones are only counted."""
    folder = make_run()
    lanes = alert_lanes(load_evidence(folder), read_result(folder), 40.0)

    assert [lane.name for lane in lanes.rows] == ["CacheDown", "DependencyDown", "Watchdog"]
    assert [(b.state, b.start_s, b.end_s) for b in lanes.rows[0].bars] == [
        ("pending", 16.9, 18.0),
        ("firing", 18.0, 29.2),
    ]
    assert [(m.status, m.t_s) for m in lanes.rows[0].marks] == [
        ("firing", 18.5),
        ("resolved", 30.1),
    ]
    assert lanes.rows[2].bars[0].state == "always"
    assert lanes.rest == "5 more alerts stayed silent"


def test_an_unexpected_alert_is_marked_in_words(make_run: Callable[..., Path]) -> None:
    """An alert that should be silent says so beside its bar and in the score."""
    folder = make_run()
    run = (folder / "run.json").read_text()
    (folder / "run.json").write_text(run.replace('"expected": "fires"', '"expected": "silent"'))
    result = read_result(folder)
    lanes = alert_lanes(load_evidence(folder), result, 40.0)

    assert [lane.note for lane in lanes.rows] == ["unexpected", "unexpected", ""]
    assert [score for _, score in scorecard(result).rows] == [
        "unexpected",
        "unexpected",
        "always on",
    ]


def test_breaker_rows_show_only_those_that_moved(make_run: Callable[..., Path]) -> None:
    """A breaker that stayed closed is named, not drawn; one that opened has its bars."""
    lanes = breaker_lanes(load_evidence(make_run()), 40.0)

    assert [lane.name for lane in lanes.rows] == ["redis-cache"]
    assert {b.state for b in lanes.rows[0].bars} == {"open", "half_open"}
    assert lanes.rest == "closed throughout: postgres, redis-broker, s3"


def test_recovery_is_in_order_and_says_never(make_run: Callable[..., Path]) -> None:
    """What did not recover stands last and has no time."""
    folder = make_run()
    run = (folder / "run.json").read_text().replace('"resolved_s": 29.4', '"resolved_s": null')
    (folder / "run.json").write_text(run)
    moments = recovery(read_result(folder), load_evidence(folder), 40.0)

    assert moments[0].name == "heal of refuse redis-cache"
    assert [m.at_s for m in moments[:-1]] == sorted(
        m.at_s for m in moments[:-1] if m.at_s is not None
    )
    assert (moments[-1].at_s, moments[-1].note) == (None, "never resolved")


def test_a_fault_that_was_never_healed_lasts_to_the_end_and_says_so() -> None:
    """The bar ends with the picture and its label tells why."""
    record = InjectionRecord(
        "1", {"kind": "refuse", "target": "s3"}, "s3", "fault", 1.0, 1.1, None, {}
    )
    (lane,) = fault_lanes((record,), 40.0).rows

    assert (lane.bars[-1].end_s, lane.bars[-1].label) == (40.0, "refuse s3, never healed")


def test_scales_clamp_and_ticks_are_round() -> None:
    """Nothing is drawn outside its panel."""
    scale = Scale(1.0, 1000.0, 100.0, 0.0, log=True)

    assert (scale(1), scale(1000), scale(0.01), scale(1e9)) == (100.0, 0.0, 100.0, 0.0)
    assert scale(31.6227766) == pytest.approx(50.0)
    assert ticks(0, 40, 8) == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert ticks(0, 1, 4) == [0, 0.5, 1]


def test_a_curve_breaks_where_there_is_no_data() -> None:
    """A gap is a gap: no line is drawn through seconds without arrivals."""
    path = str(curve([(0.0, 0.0), (1.0, 1.0), None, (3.0, 3.0), None], "p95"))

    assert 'd="M0 0L1 1M3 3h.1"' in path


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.00123, "bad fraction", "0.123 %"),
        (1.0, "degraded fraction", "100 %"),
        (1.4567, "ratio", f"1.46 {TIMES}"),
        (5.0, "s", "5 s"),
        (11.98, "s in force", "11.98 s"),
        (1234.5, "arrivals", "1,234 arrivals"),
        (None, "s", NONE),
        (float("inf"), "ms", f"{NONE} ms"),
    ],
)
def test_amounts_are_written_in_their_unit(value: float | None, unit: str, words: str) -> None:
    """A number never stands without its unit, and none is never 0."""
    assert amount(value, unit) == words


def test_numbers_keep_three_digits_and_no_exponent() -> None:
    """Small and large numbers stay readable."""
    assert [number(v) for v in (0.001234, 12.3456, 99999.5, 0, -1.5)] == [
        "0.00123",
        "12.3",
        "100,000",
        "0",
        "-1.5",
    ]


def test_unknown_values_are_shown_as_they_are() -> None:
    """A fault of a later version and a time that is no time are still named."""
    fault = {"kind": "melt", "target": "cpu", "share": 0.5}

    assert fault_text(fault) == "melt cpu (share=0.5)"
    assert moment("yesterday") == "yesterday"


def test_every_kind_of_finding_has_its_title_and_a_broken_invariant_comes_first() -> None:
    """Findings stand under titles for people, in one order: what must never happen before what is slow."""
    findings = [Finding(k, k, "run", Verdict.FAIL, 1.0, 0.0, "", "") for k in sorted(KINDS)]
    titles = [title for title, _ in by_kind(findings)]

    assert set(KINDS) == set(KIND_TITLES)
    assert titles == [KIND_TITLES[kind] for kind in KINDS]
    assert KINDS.index("invariant") < KINDS.index("slo") < KINDS.index("liveness")
