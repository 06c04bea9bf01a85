"""Metrics as a scraper sees them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from app.core.exposition import serve_metrics
from app.core.metrics import ANSWERS, DEPENDENCIES, Metrics
from app.core.resilience.guard import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def served(metrics: Metrics) -> Iterator[Callable[[str], str]]:
    """Serve on a free port and give a function that scrapes with an Accept header."""
    server, thread = serve_metrics(metrics.registry, "127.0.0.1", 0)

    def scrape(accept: str) -> str:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urlopen(Request(url, headers={"Accept": accept}), timeout=5) as answer:
            return bytes(answer.read()).decode()

    try:
        yield scrape
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_two_apps_can_live_in_one_process() -> None:
    """Families live on the injected registry, so that a second set is no duplicate."""
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.views_total.inc()

    assert second.registry.get_sample_value("views_total") == 0.0


def test_children_are_there_before_the_first_event(metrics: Metrics) -> None:
    """Each known label combination is 0 from the start, so that the first error is an increase."""
    metrics.add_routes([("GET", "/api/v1/videos")])
    read = metrics.registry.get_sample_value
    route = {"method": "GET", "route": "/api/v1/videos"}

    for status_code, outcome in ANSWERS:
        labels = route | {"status_code": status_code, "outcome": outcome}
        assert read("http_requests_total", labels) == 0.0
    for outcome in ("ok", "degraded", "error"):
        labels = route | {"outcome": outcome, "le": "0.5"}
        assert read("http_request_duration_seconds_bucket", labels) == 0.0
    for dependency in DEPENDENCIES:
        assert read("app_dependency_up", {"dependency": dependency}) == 0.0
        for reason in Reason:
            labels = {"dependency": dependency, "reason": str(reason)}
            assert read("app_fallback_total", labels) == 0.0


def test_unknown_is_not_up(metrics: Metrics) -> None:
    """Until a health check has seen a dependency it is not shown as up."""
    assert metrics.registry.get_sample_value("app_dependency_up", {"dependency": "postgres"}) == 0.0


def test_a_scrape_is_parsed_and_has_the_process_too(metrics: Metrics) -> None:
    """The text format parses; process metrics are in it, `_created` series are not."""
    with served(metrics) as scrape:
        text = scrape("text/plain")
    names = {family.name for family in text_string_to_metric_families(text)}

    assert {"views", "cache_operations", "process_cpu_seconds", "process_open_fds"} <= names
    assert "_created" not in text


def test_openmetrics_carries_exemplars(metrics: Metrics) -> None:
    """A scraper that asks for OpenMetrics gets the trace id of an observation."""
    child = metrics.http_request_duration_seconds.labels("GET", "/api/v1/videos", "ok")
    child.observe(0.2, {"trace_id": "0af7651916cd43dd8448eb211c80319c"})
    with served(metrics) as scrape:
        text = scrape(OPENMETRICS)

    assert text.endswith("# EOF\n")
    assert re.search(
        r'le="0\.2",.*\} 1\.0 # \{trace_id="0af7651916cd43dd8448eb211c80319c"\} 0\.2', text
    )


@pytest.mark.parametrize("bound", ["0.5", "2.0"])
def test_buckets_stand_where_slos_and_limits_are(metrics: Metrics, bound: str) -> None:
    """The SLO (0.5 s) and the client's limit (2 s) are exact bounds, written as Prometheus will match them."""
    metrics.http_request_duration_seconds.labels("GET", "/x", "ok").observe(float(bound))
    labels = {"method": "GET", "route": "/x", "outcome": "ok", "le": bound}

    assert metrics.registry.get_sample_value("http_request_duration_seconds_bucket", labels) == 1.0


def test_a_breaker_is_in_one_state(metrics: Metrics) -> None:
    """Exactly one of the three series is 1."""
    for state in ("closed", "open", "half_open"):
        metrics.set_breaker_state("s3", state)
        values = {
            each: metrics.registry.get_sample_value(
                "app_breaker_state", {"name": "s3", "state": each}
            )
            for each in ("closed", "open", "half_open")
        }
        assert values == {each: float(each == state) for each in values}


def test_the_pool_is_read_at_each_scrape(metrics: Metrics) -> None:
    """The gauges show the pool of now, not of the last event."""
    pool = {"out": 0}
    metrics.watch_pool(size=10, checked_out=lambda: pool["out"], idle=lambda: 10 - pool["out"])
    read = metrics.registry.get_sample_value
    pool["out"] = 3

    assert read("db_pool_connections", {"state": "checked_out"}) == 3.0
    assert read("db_pool_connections", {"state": "idle"}) == 7.0
    assert read("db_pool_max_connections") == 10.0
