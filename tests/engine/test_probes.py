"""Claims about the samplers and log collection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from typing import TYPE_CHECKING, cast

import pandas as pd
from aiohttp import web

from chaos.checks.responsiveness import PROBE_LATENCY, PROBE_OWN_LAG
from chaos.engine.logs import _events, _json_lines
from chaos.engine.probes import (
    LoopLag,
    Probes,
    Sample,
    parse_metrics,
    server_outcomes,
    write_samples,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from chaos.runtime.base import Stack

TEXT = """\
# HELP http_requests_total requests
http_requests_total{method="GET",outcome="ok",route="/a/{id}"} 7.0
http_requests_total{method="GET",outcome="degraded",route="/a/{id}"} 2.0 # {trace_id="x"} 1.0
http_request_duration_seconds_bucket{le="0.5"} 9
event_loop_lag_seconds_bucket{le="0.05"} 8 # {trace_id="x"} 0.01
event_loop_lag_seconds_bucket{le="+Inf"} 9.0
event_loop_lag_seconds_sum 0.3
app_breaker_state{name="redis-cache",state="open"} 1.0
process_cpu_seconds_total 3
views_total 12
"""


def test_only_the_families_that_are_looked_at_become_samples() -> None:
    """Labels are sorted JSON; exemplars are left out, and buckets but those of which claims are made."""
    rows = list(parse_metrics(TEXT, 1.5))

    assert [(r.name, r.value) for r in rows] == [
        ("http_requests_total", 7.0),
        ("http_requests_total", 2.0),
        ("event_loop_lag_seconds_bucket", 8.0),
        ("event_loop_lag_seconds_bucket", 9.0),
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


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve /livez by `handler` on a free port and yield the server's URL."""
    app = web.Application()
    app.router.add_get("/livez", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def latencies(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], count: int
) -> list[float]:
    """Probe a server until there are `count` latencies, each beside a lag of its own, and return them in ms."""
    async with serving(handler) as url:
        probes = Probes(cast("Stack", None), "", url, time.monotonic)
        probing = asyncio.create_task(probes._time("/livez"))
        async with asyncio.timeout(20):
            while len(probes.samples) < 2 * count:  # noqa: ASYNC110 (a probe tells nobody)
                await asyncio.sleep(0.01)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    took = [s for s in probes.samples if s.name == PROBE_LATENCY]
    lags = [s for s in probes.samples if s.name == PROBE_OWN_LAG]
    assert [s.t_s for s in took] == [s.t_s for s in lags]
    assert all(json.loads(s.labels) == {"path": "/livez"} for s in probes.samples)
    return [s.value for s in took][:count]


def test_a_probe_keeps_how_long_each_answer_took() -> None:
    """A server that takes 50 ms is measured at 50 ms or more, and a probe goes out for each answer."""

    async def slowly(_: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response()

    took = asyncio.run(latencies(slowly, 3))

    assert all(50 <= value < math.inf for value in took)


def test_a_probe_without_a_good_answer_is_never_fast() -> None:
    """A 503 counts as no answer at all; one that never comes is given up after a second."""

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    assert asyncio.run(latencies(fail, 2)) == [math.inf, math.inf]
    assert asyncio.run(latencies(hang, 1))[0] >= 1_000


def test_the_probers_own_lag_is_seen() -> None:
    """A loop that was blocked for 200 ms was late by about as much, and by nothing once that is forgotten."""

    async def block() -> tuple[float, float]:
        lag = LoopLag()
        watching = asyncio.create_task(lag.watch())
        await asyncio.sleep(0.02)
        time.sleep(0.2)  # noqa: ASYNC251 (the very block that is to be seen)
        blocked = lag.total_s()
        await asyncio.sleep(0.05)
        lag.forget()
        watching.cancel()
        return blocked, lag.late_s

    blocked, after = asyncio.run(block())

    assert blocked >= 0.19
    assert after == 0


def test_samples_that_come_while_others_are_written_do_no_harm(tmp_path: Path) -> None:
    """Probes go on until the end, so the list grows while its columns are built: each file is whole."""
    samples = [Sample("a", "{}", 0.0, 1.0)] * 20_000

    def add() -> None:
        for _ in range(400_000):
            samples.append(samples[0])

    adding = threading.Thread(target=add)
    adding.start()
    for _ in range(3):
        write_samples(tmp_path / "samples.parquet", samples)
        assert len(pd.read_parquet(tmp_path / "samples.parquet")) >= 20_000
    adding.join(30)
