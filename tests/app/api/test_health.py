"""Probes: true within two seconds, also when a dependency hangs, and never hanging with it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from sqlalchemy import text
from structlog.testing import capture_logs

from app.core.config import Settings
from app.core.metrics import DEPENDENCIES
from tests.app.api.asgi import call
from tests.app.conftest import until
from tests.app.system import ROOT, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from app.services.health import HealthReport
    from tests.app.servers import Server
    from tests.app.system import System

TRUE_WITHIN_S = 2.0
OPEN_WITHIN_S = 10.0
DETAILED = "/api/v1/health/detailed"


async def _body(app: FastAPI, path: str) -> dict[str, Any]:
    body: dict[str, Any] = (await call(app, "GET", path)).json()
    return body


async def _status_becomes(app: FastAPI, status: str) -> dict[str, Any]:
    """Wait for the overall status, for no longer than the truth may take."""
    checker = app.state.services.health
    await until(lambda: checker.report().status == status, within_s=TRUE_WITHIN_S)
    return await _body(app, DETAILED)


@pytest.fixture
async def slow_checking_app(system: System) -> AsyncIterator[FastAPI]:
    """The application with its default interval between checks, which is also that of compose.yaml."""
    interval_s = Settings().health_check_interval_s
    composed = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())
    environment = composed["services"]["app"]["environment"]
    assert float(environment["HEALTH_CHECK_INTERVAL_S"]) == interval_s
    async with serving(system.settings(health_check_interval_s=interval_s)) as app:
        yield app


async def test_healthy(app: FastAPI) -> None:
    """On well dependencies all five are healthy, with measured times and an age."""
    body = await _status_becomes(app, "healthy")

    assert set(body["components"]) == set(DEPENDENCIES)
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
        ("live_origin", "degraded", {"live-origin"}),
    ],
)
async def test_hanging_dependency(
    slow_checking_app: FastAPI, system: System, name: str, status: str, failures: set[str]
) -> None:
    """A stopped process, whose sockets stay open, is seen within 2 s and its return too; probes answer at once.

    With the interval that is used in production.
    """
    app = slow_checking_app
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


def _checks(app: FastAPI, dependency: str = "s3") -> float:
    name = "app_dependency_check_duration_seconds_count"
    value: float = app.state.metrics.registry.get_sample_value(name, {"dependency": dependency})
    return value


FLAGS = {
    "redis": "redis-cache",
    "s3": "s3",
    "celery": "redis-broker",
    "ml": None,
    "2fa": None,
    "live": "live-origin",
}


@pytest.mark.parametrize("feature", FLAGS)
async def test_disabled_feature(system: System, feature: str) -> None:
    """What the operator switched off is shown as disabled, with its dependency if it has one, and is no failure."""
    async with serving(system.settings(**{f"feature_{feature}_enabled": False})) as app:
        body = await _status_becomes(app, "healthy")

    switched = {name: "disabled" if name == feature else "enabled" for name in FLAGS}
    assert body["features"] == switched
    disabled = {n for n, c in body["components"].items() if c["status"] == "disabled"}
    assert disabled == {FLAGS[feature]} - {None}
    for name in disabled:
        # Alerts look at this one: nobody is called for what was switched off.
        read = app.state.metrics.registry.get_sample_value
        assert read("app_dependency_up", {"dependency": name}) == 1


async def test_a_flag_is_no_breaker(system: System) -> None:
    """A feature that is off answers by its fallback and is never tried: no breaker moves, no health check fails."""
    with capture_logs() as lines:
        async with serving(system.settings(feature_redis_enabled=False)) as app:
            system.valkey.stop()
            try:
                for _ in range(30):
                    answer = await call(app, "GET", "/api/v1/videos/trending")
                    assert answer.status == 200
                body = await _body(app, DETAILED)
            finally:
                system.valkey.resume()

    component = body["components"]["redis-cache"]
    assert (component["status"], component["breaker"]) == ("disabled", "closed")
    assert body["features"]["redis"] == "disabled"
    assert "redis-cache" not in {line.get("breaker") for line in lines}
    assert "redis-cache" not in {line.get("dependency") for line in lines}


async def test_a_breaker_is_no_flag(app: FastAPI, system: System) -> None:
    """A dependency that hangs opens its breaker and degrades; the feature is still switched on and comes back."""
    await _status_becomes(app, "healthy")
    breaker = {"name": "redis-cache", "state": "open"}
    is_open = partial(app.state.metrics.registry.get_sample_value, "app_breaker_state", breaker)
    system.valkey.stop()
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            while not is_open():
                await call(app, "GET", "/api/v1/videos/trending")
        await _status_becomes(app, "degraded")
        body = await _body(app, DETAILED)
    finally:
        system.valkey.resume()

    component = body["components"]["redis-cache"]
    assert component["status"] == "unhealthy"
    assert component["breaker"] in {"open", "half_open"}
    assert set(body["features"].values()) == {"enabled"}
    await _status_becomes(app, "healthy")


async def test_an_exhausted_pool_is_no_outage(app: FastAPI) -> None:
    """Checks have connections of their own: with every pooled one taken health stays good, and metrics show it."""
    await _status_becomes(app, "healthy")
    database = app.state.services.videos._database
    read = app.state.metrics.registry.get_sample_value
    size = read("db_pool_max_connections")
    # Warming takes all of them too, and gives them back.
    await until(lambda: read("db_pool_connections", {"state": "idle"}) == size)
    async with AsyncExitStack() as held:
        for _ in range(int(size)):
            session = await held.enter_async_context(database.session())
            await session.execute(text("SELECT 1"))
        checked = _checks(app, "postgres")
        await until(lambda: _checks(app, "postgres") >= checked + 3)
        body = await _body(app, DETAILED)
        taken = read("db_pool_connections", {"state": "checked_out"})
        unused = read("db_pool_connections", {"state": "idle"})

    assert body["components"]["postgres"]["status"] == "healthy"
    assert (taken, unused) == (size, 0)


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
