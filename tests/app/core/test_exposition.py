"""The OpenMetrics text against prometheus-client's own, which is the oracle."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from prometheus_client.openmetrics.exposition import generate_latest

from app.core.exposition import Exposition


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry with each kind of family, and labels and values that are hard to write."""
    registry = CollectorRegistry()
    counter = Counter("asked", 'Says "why"\nand \\how', ("who",), registry=registry)
    for who in ("", 'quo"ted', "back\\slash", "new\nline", "ünïcode 🎬", "comma,brace}"):
        counter.labels(who).inc(3)
    counter.labels("exemplar").inc(1, {"trace_id": 'a"b'})
    gauge = Gauge("level", "Now", ("which", "also"), unit="bytes", registry=registry)
    for value in (0.0, -0.0, 1e-9, 1e22, 123456789.0, -2.5, math.inf, -math.inf, math.nan):
        gauge.labels(str(value), "x").set(value)
    histogram = Histogram("took", "Time", ("route",), unit="seconds", registry=registry)
    histogram.labels("/a").observe(0.3, {"trace_id": "4bf92f3577b34da6"})
    histogram.labels("/b")
    Summary("size", "Sizes", registry=registry).observe(7)
    Info("build", "What runs", registry=registry).info({"version": "1.0"})
    Gauge("bare", "No labels", registry=registry)
    return registry


def test_each_kind_of_family_is_written_as_the_library_writes_it(
    registry: CollectorRegistry,
) -> None:
    """The text is the library's, letter for letter, at the first scrape and from the kept text at the next."""
    exposition = Exposition(registry)
    assert exposition.render() == generate_latest(registry)  # type: ignore[no-untyped-call]
    assert exposition.render() == generate_latest(registry)  # type: ignore[no-untyped-call]


def test_what_is_born_between_two_scrapes_is_shown(registry: CollectorRegistry) -> None:
    """Kept text hides neither new values nor new children nor new families."""
    exposition = Exposition(registry)
    exposition.render()
    late = Counter("late", "Born later", ("label",), registry=registry)
    late.labels("one").inc()
    exposition.render()
    late.labels("one").inc()
    late.labels("two").inc()
    assert exposition.render() == generate_latest(registry)  # type: ignore[no-untyped-call]
    assert b'late_total{label="one"} 2.0' in exposition.render()
