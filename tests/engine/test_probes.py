"""Claims about the samplers and log collection."""

from __future__ import annotations

import json

from chaos.engine.logs import _events, _json_lines
from chaos.engine.probes import Sample, parse_metrics, server_outcomes

TEXT = """\
# HELP http_requests_total requests
http_requests_total{method="GET",outcome="ok",route="/a/{id}"} 7.0
http_requests_total{method="GET",outcome="degraded",route="/a/{id}"} 2.0 # {trace_id="x"} 1.0
http_request_duration_seconds_bucket{le="0.5"} 9
app_breaker_state{name="redis-cache",state="open"} 1.0
process_cpu_seconds_total 3
views_total 12
"""


def test_only_the_families_that_are_looked_at_become_samples() -> None:
    """Labels are sorted JSON; exemplars and buckets are left out."""
    rows = list(parse_metrics(TEXT, 1.5))

    assert [(r.name, r.value) for r in rows] == [
        ("http_requests_total", 7.0),
        ("http_requests_total", 2.0),
        ("app_breaker_state", 1.0),
        ("views_total", 12.0),
    ]
    assert json.loads(rows[0].labels) == {"method": "GET", "outcome": "ok", "route": "/a/{id}"}
    assert all(r.t_s == 1.5 for r in rows)


def test_server_outcomes_are_differences_between_two_reads() -> None:
    """What the server counted before the run does not belong to it."""
    first = [Sample("http_requests_total", '{"outcome": "ok"}', 0, 5)]
    last = [
        Sample("http_requests_total", '{"outcome": "ok"}', 9, 15),
        Sample("http_requests_total", '{"outcome": "error"}', 9, 2),
    ]

    assert server_outcomes(first, last) == {"ok": 10, "error": 2}


def test_log_lines_become_json_and_notable_events_get_run_time() -> None:
    """Plain lines of servers are kept; breaker events are stamped on the run's clock."""
    line = b'{"event": "breaker_opened", "breaker": "redis-cache", "timestamp": "2026-01-01T00:00:10.500Z"}'
    data = b"plain words\n" + line + b"\n{broken\n"

    assert next(iter(_json_lines(data))) == b'{"line": "plain words"}\n'
    events = list(_events("app", data, 1767225600.0))
    assert len(events) == 1
    assert events[0]["t_s"] == 10.5
    assert events[0]["fields"] == {"breaker": "redis-cache"}
