"""Shedding, security headers and CORS, as clients of the whole application see them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from app.core.metrics import Metrics
from app.main import create_app
from tests.app.api.asgi import Call, call
from tests.app.conftest import until

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.core.config import Settings

SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
ORIGIN = "https://app.socialflow.example"
PREFLIGHT = [("Origin", ORIGIN), ("Access-Control-Request-Method", "GET")]
STRONG = "an-independent-secret-of-more-than-32-bytes"


def _app(settings: Settings, **changes: Any) -> FastAPI:
    """Build an application with some settings changed; what is asked here needs no lifespan."""
    values = {**settings.model_dump(), **changes}
    app = create_app(type(settings).model_validate(values), Metrics(CollectorRegistry()))
    app.add_api_route("/hang", _hang)
    app.add_api_route("/boom", _boom)
    app.add_api_route("/number", _number)
    return app


async def _hang() -> None:
    await asyncio.Event().wait()


async def _boom() -> None:
    raise RuntimeError


async def _number(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/api/v1/videos", 405),
        ("GET", "/number?number=x", 422),
        ("GET", "/boom", 500),
        ("GET", "/hang", 504),
        ("GET", "/openapi.json", 200),
    ],
)
async def test_security_headers(settings: Settings, method: str, path: str, status: int) -> None:
    """Each answer has each security header once, whatever it is."""
    answer = await call(_app(settings, request_deadline_s=0.1), method, path)

    assert answer.status == status
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    names = [name for name, _ in answer.raw_headers]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_documentation_is_a_page(settings: Settings, path: str) -> None:
    """The pages of the documentation load scripts, so their content has no policy; all else stays."""
    answer = await call(_app(settings), "GET", path)

    assert answer.status == 200
    assert "content-security-policy" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_tls_is_demanded_in_production_only(settings: Settings) -> None:
    """A development machine has no certificate; everybody else is told to stay with TLS."""
    production = _app(settings, environment="production", secret_key=STRONG, live_key=STRONG)

    name = "strict-transport-security"
    assert "max-age=" in (await call(production, "GET", "/livez")).headers[name]
    assert name not in (await call(_app(settings), "GET", "/livez")).headers


async def test_beyond_the_cap_requests_are_shed(settings: Settings) -> None:
    """The request too many gets a 503 problem with ids and Retry-After at once; probes are served; all is counted."""
    app = _app(settings, max_in_flight=1, request_deadline_s=30)
    registry = app.state.metrics.registry
    held = asyncio.create_task(Call(app, "GET", "/hang").run())
    await until(lambda: registry.get_sample_value("http_requests_in_flight") == 1)

    answer = await call(app, "GET", "/hang", headers=[("X-Request-ID", "one-too-many")])
    probes = [await call(app, "GET", path) for path in ("/livez", "/readyz", "/api/v1/health")]
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "one-too-many" == answer.json()["correlation_id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "traceparent" in answer.headers
    assert all(probe.json().get("title") != "Overloaded" for probe in probes)
    shed = {"method": "GET", "route": "unmatched", "status_code": "503", "outcome": "error"}
    assert registry.get_sample_value("http_requests_total", shed) == 1
    assert registry.get_sample_value("http_requests_shed_total", {"reason": "in_flight"}) == 1
    assert registry.get_sample_value("http_requests_in_flight") == 0


async def test_cors_is_closed(settings: Settings) -> None:
    """Without origins in the settings no page may read an answer."""
    for answer in (
        await call(_app(settings), "GET", "/livez", headers=[("Origin", ORIGIN)]),
        await call(_app(settings), "OPTIONS", "/api/v1/videos", headers=PREFLIGHT),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_cors_for_named_origins(settings: Settings) -> None:
    """A named origin may call and read the ids, without credentials; another may not."""
    app = _app(settings, cors_allow_origins=(ORIGIN,))
    preflight = await call(app, "OPTIONS", "/api/v1/videos", headers=PREFLIGHT)
    answer = await call(app, "GET", "/livez", headers=[("Origin", ORIGIN)])
    foreign = await call(app, "GET", "/livez", headers=[("Origin", "https://evil.example")])

    assert preflight.status == 200
    for each in (preflight, answer):
        assert each.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in each.headers
        assert "x-request-id" in each.headers
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "access-control-allow-origin" not in foreign.headers


async def test_cors_holds_for_answers_of_the_middleware(settings: Settings) -> None:
    """A page can read also the answers that end a request early."""
    app = _app(settings, cors_allow_origins=(ORIGIN,), request_deadline_s=0.05)
    answer = await call(app, "GET", "/hang", headers=[("Origin", ORIGIN)])

    assert answer.status == 504
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_any_origin_never_has_credentials(settings: Settings) -> None:
    """An API that is open to every page is open without cookies."""
    app = _app(settings, cors_allow_origins=("*",))
    headers = [("Origin", ORIGIN), ("Cookie", "a=b")]
    answer = await call(app, "GET", "/livez", headers=headers)

    assert answer.headers["access-control-allow-origin"] in {"*", ORIGIN}
    assert "access-control-allow-credentials" not in answer.headers


async def test_bulkheads_are_shown(app: FastAPI) -> None:
    """Each dependency's bulkhead has its calls in the metrics."""
    registry = app.state.metrics.registry
    for name in ("postgres", "redis-cache", "s3"):
        for state in ("in_flight", "waiting"):
            labels = {"name": name, "state": state}
            assert registry.get_sample_value("app_bulkhead_calls", labels) is not None
