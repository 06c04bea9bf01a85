"""Probes: true within two seconds, also when a dependency hangs, and never hanging with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.app.api.asgi import call
from tests.app.conftest import until
from tests.app.system import serving

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.services.health import HealthReport
    from tests.app.servers import Server
    from tests.app.system import System

TRUE_WITHIN_S = 2.0
DETAILED = "/api/v1/health/detailed"


async def _body(app: FastAPI, path: str) -> dict[str, Any]:
    body: dict[str, Any] = (await call(app, "GET", path)).json()
    return body


async def _status_becomes(app: FastAPI, status: str) -> dict[str, Any]:
    """Wait for the overall status, for no longer than the truth may take."""
    checker = app.state.services.health
    await until(lambda: checker.report().status == status, within_s=TRUE_WITHIN_S)
    return await _body(app, DETAILED)


async def test_healthy(app: FastAPI) -> None:
    """On well dependencies all four are healthy, with measured times and an age."""
    body = await _status_becomes(app, "healthy")

    assert set(body["components"]) == {"postgres", "redis-cache", "redis-broker", "s3"}
    for component in body["components"].values():
        assert component["status"] == "healthy"
        assert 0 < component["response_time_ms"] < 500
        assert 0 <= component["age_seconds"] < 2
    assert body["components"]["postgres"]["breaker"] == "closed"
    assert (await call(app, "GET", "/readyz")).status == 200
    assert await _body(app, "/api/v1/health") == {
        "status": "healthy",
        "critical_failures": [],
        "optional_failures": [],
    }


@pytest.mark.parametrize(
    ("name", "status", "failures"),
    [
        ("postgres", "unhealthy", {"postgres"}),
        ("valkey", "degraded", {"redis-cache", "redis-broker"}),
        ("object_store", "degraded", {"s3"}),
    ],
)
async def test_hanging_dependency(
    app: FastAPI, system: System, name: str, status: str, failures: set[str]
) -> None:
    """A stopped process, whose sockets stay open, is seen within 2 s and its return too; probes answer at once."""
    server: Server = getattr(system, name)
    await _status_becomes(app, "healthy")
    server.stop()
    try:
        await _status_becomes(app, status)
        report = app.state.services.health.report
        await until(lambda: failures <= _failures(report()), within_s=TRUE_WITHIN_S)
        asked = time.perf_counter()
        alive, ready = await call(app, "GET", "/livez"), await call(app, "GET", "/readyz")
        took_s = time.perf_counter() - asked
        body = await _body(app, DETAILED)
    finally:
        server.resume()

    assert {n for n, c in body["components"].items() if c["status"] == "unhealthy"} == failures
    assert {body["components"][name]["reason"] for name in failures} == {"timeout"}
    assert body["critical_failures"] == [n for n in ("postgres",) if n in failures]
    assert (alive.status, ready.status) == (200, 503 if "postgres" in failures else 200)
    assert took_s < 0.1
    await _status_becomes(app, "healthy")


async def test_failure_sets_the_gauge_and_logs_once(app: FastAPI, system: System) -> None:
    """An outage is one line at its beginning and one at its end, however many checks it spans; the gauge follows."""
    await _status_becomes(app, "healthy")
    registry = app.state.metrics.registry
    with capture_logs() as lines:
        system.object_store.stop()
        try:
            await _status_becomes(app, "degraded")
            during = registry.get_sample_value("app_dependency_up", {"dependency": "s3"})
            # Some more checks, each of which fails.
            seen = _checks(app)
            await until(lambda: _checks(app) >= seen + 2)
        finally:
            system.object_store.resume()
        await _status_becomes(app, "healthy")

    told = [(x["event"], x["dependency"]) for x in lines if x["event"].startswith("health_check")]
    assert told == [("health_check_failed", "s3"), ("health_check_recovered", "s3")]
    assert during == 0
    assert registry.get_sample_value("app_dependency_up", {"dependency": "s3"}) == 1


def _failures(report: HealthReport) -> set[str]:
    return {*report.critical_failures, *report.optional_failures}


def _checks(app: FastAPI) -> float:
    name = "app_dependency_check_duration_seconds_count"
    value: float = app.state.metrics.registry.get_sample_value(name, {"dependency": "s3"})
    return value


async def test_disabled_dependency(system: System) -> None:
    """What the operator switched off is shown as disabled and is no failure."""
    async with serving(system.settings(feature_redis_enabled=False)) as app:
        body = await _status_becomes(app, "healthy")

    assert body["components"]["redis-cache"]["status"] == "disabled"


async def test_nothing_leaks(app: FastAPI, system: System) -> None:
    """Whatever is amiss, no address, user or password of a dependency is shown."""
    await _status_becomes(app, "healthy")
    system.postgres.stop()
    try:
        await _status_becomes(app, "unhealthy")
        text = (await call(app, "GET", DETAILED)).body.decode()
    finally:
        system.postgres.resume()

    for secret in ("127.0.0.1", "socialflow", str(system.postgres.port)):
        assert secret not in text
    await _status_becomes(app, "healthy")
