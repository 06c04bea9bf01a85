"""The middleware: whatever happens inside, one answer with ids and one count with the right labels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from structlog.testing import capture_logs

from app.api.middleware.observability import ObservabilityMiddleware
from app.api.middleware.protection import Protection
from app.api.middleware.route_template import RouteTemplates
from app.core import errors
from app.core.context import mark_degraded
from tests.app.api.asgi import Answer, Call, call
from tests.app.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from app.core.config import Settings
    from app.core.metrics import Metrics

DEADLINE_S = 0.2


@pytest.fixture
def app(metrics: Metrics, settings: Settings) -> FastAPI:
    """Build an application with every kind of route, inside the middleware."""
    app = FastAPI()
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer/{tenant}")
    inner.add_api_route("/{item}", _ok)
    outer.include_router(inner)
    app.include_router(inner)
    app.include_router(outer)
    for path, endpoint in ENDPOINTS.items():
        app.add_api_route(path, endpoint)
    below = FastAPI()
    below.add_api_route("/direct/{item}", _ok)
    below.include_router(inner)
    app.mount("/below", below)
    app.mount(
        "/starlette/{shop}", Starlette(routes=[Mount("/deep", routes=[Route("/{x}", _plain)])])
    )
    app.add_route("/plain/{x}", _plain)
    app.mount("/files", PlainTextResponse("a file"))
    errors.install_error_handlers(app)
    app.add_middleware(
        ObservabilityMiddleware,
        templates=RouteTemplates(app),
        metrics=metrics,
        deadline_s=DEADLINE_S,
        protection=Protection.of(settings, metrics),
    )
    return app


async def _ok() -> dict[str, str]:
    return {"a": "b"}


async def _plain(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


async def _boom() -> None:
    raise RuntimeError("secret detail")


async def _degraded() -> dict[str, str]:
    mark_degraded("storage")
    mark_degraded("cache")
    return {}


async def _degraded_and_broken() -> None:
    mark_degraded("cache")
    raise RuntimeError


async def _hang() -> None:
    await asyncio.Event().wait()


async def _unavailable() -> None:
    raise errors.UnavailableError("postgres")


async def _number(number: int) -> int:
    return number


async def _stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(DEADLINE_S / 2)
            yield b"x"

    return StreamingResponse(chunks())


async def _broken_stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError

    return StreamingResponse(chunks())


ENDPOINTS: dict[str, Callable[..., object]] = {
    "/top/{item}": _ok,
    "/boom": _boom,
    "/degraded": _degraded,
    "/degraded-and-broken": _degraded_and_broken,
    "/hang": _hang,
    "/unavailable": _unavailable,
    "/number": _number,
    "/stream": _stream,
    "/broken-stream": _broken_stream,
    "/livez": _ok,
}


def _counted(metrics: Metrics) -> list[tuple[str, str, str, str]]:
    """Return (method, route, status, outcome) of every counted request."""
    return [
        (s.labels["method"], s.labels["route"], s.labels["status_code"], s.labels["outcome"])
        for family in metrics.registry.collect()
        if family.name == "http_requests"
        for s in family.samples
        if s.name == "http_requests_total"
        for _ in range(int(s.value))
    ]


def _in_flight(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("http_requests_in_flight")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/top/1", "/top/{item}"),
        ("/inner/1", "/inner/{item}"),
        ("/outer/acme/inner/1", "/outer/{tenant}/inner/{item}"),
        ("/below/direct/1", "/below/direct/{item}"),
        ("/below/inner/1", "/below/inner/{item}"),
        ("/starlette/7/deep/1", "/starlette/{shop}/deep/{x}"),
        ("/plain/1", "/plain/{x}"),
        ("/files/any/where", "/files/{path}"),
    ],
)
async def test_route_label(app: FastAPI, metrics: Metrics, path: str, route: str) -> None:
    """The label is the full template: of direct, included, nested, mounted and plain routes."""
    answer = await call(app, "GET", path)

    assert answer.status == 200
    assert _counted(metrics) == [("GET", route, "200", "ok")]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/below/nowhere", "/starlette/7/nowhere", "/outer/acme/no"]
)
async def test_unmatched_route_label(app: FastAPI, metrics: Metrics, path: str) -> None:
    """A path without a route is `unmatched`, wherever it got lost, so clients cannot invent labels."""
    answer = await call(app, "GET", path)

    assert answer.status == 404
    assert _counted(metrics) == [("GET", "unmatched", "404", "ok")]


@pytest.mark.parametrize("path", ["/top/1", "/inner/1", "/below/inner/1"])
async def test_wrong_method_keeps_its_route(app: FastAPI, metrics: Metrics, path: str) -> None:
    """A 405 belongs to the route whose method was wrong."""
    answer = await call(app, "PUT", path)

    [(method, route, status, outcome)] = _counted(metrics)
    assert (answer.status, method, status, outcome) == (405, "PUT", "405", "ok")
    assert route.endswith("/{item}")


async def test_invalid_request_keeps_its_route(app: FastAPI, metrics: Metrics) -> None:
    """A 422 belongs to its route, is a problem document and is no error of the service."""
    answer = await call(app, "GET", "/number?number=x")

    assert answer.headers["content-type"] == "application/problem+json"
    assert _counted(metrics) == [("GET", "/number", "422", "ok")]


async def test_unknown_method(app: FastAPI, metrics: Metrics) -> None:
    """Methods are a closed set: whatever else a client sends is OTHER."""
    await call(app, "BREW", "/top/1")

    assert [method for method, *_ in _counted(metrics)] == ["OTHER"]


async def test_unhandled_error(app: FastAPI, metrics: Metrics) -> None:
    """An unexpected error is a 500 problem with ids, tells nothing of its cause, and counts as error."""
    answer = await call(app, "GET", "/boom", headers=[("X-Request-ID", "caller-chosen-1")])

    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "caller-chosen-1" == answer.json()["correlation_id"]
    assert "traceparent" in answer.headers
    assert b"secret" not in answer.body
    assert b"Runtime" not in answer.body
    assert _counted(metrics) == [("GET", "/boom", "500", "error")]


async def test_unhandled_error_is_logged_once(app: FastAPI) -> None:
    """One line has the stack, one is the access line; nothing else is said of it."""
    with capture_logs() as lines:
        await call(app, "GET", "/boom")

    assert [line["event"] for line in lines] == ["unhandled_error", "http_request"]
    assert (lines[0]["error_type"], lines[0]["exc_info"]) == ("RuntimeError", True)
    access = lines[1]
    assert (access["route"], access["status_code"], access["outcome"]) == ("/boom", 500, "error")


async def test_degraded(app: FastAPI, metrics: Metrics) -> None:
    """A fallback's answer names its features, sorted, and has an outcome of its own."""
    answer = await call(app, "GET", "/degraded")

    assert answer.headers["x-degraded"] == "cache, storage"
    assert _counted(metrics) == [("GET", "/degraded", "200", "degraded")]


async def test_healthy_answer_is_not_degraded(app: FastAPI) -> None:
    """Marks of one request do not reach the next."""
    await call(app, "GET", "/degraded")
    answer = await call(app, "GET", "/top/1")

    assert "x-degraded" not in answer.headers


async def test_degraded_error_is_an_error(app: FastAPI, metrics: Metrics) -> None:
    """A fallback that did not help is no excuse."""
    await call(app, "GET", "/degraded-and-broken")

    assert _counted(metrics) == [("GET", "/degraded-and-broken", "500", "error")]


async def test_unavailable(app: FastAPI, metrics: Metrics) -> None:
    """A dependency without fallback gives 503 with Retry-After, and counts as error."""
    answer = await call(app, "GET", "/unavailable")

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert _counted(metrics) == [("GET", "/unavailable", "503", "error")]


async def test_deadline(app: FastAPI, metrics: Metrics) -> None:
    """A request that hangs is in flight until the deadline, then a 504 problem and counted."""
    request = Call(app, "GET", "/hang")
    serving = asyncio.create_task(request.run())
    await until(lambda: _in_flight(metrics) == 1)
    answer = await serving

    assert answer.status == 504
    assert answer.json()["title"] == "Deadline exceeded"
    assert _in_flight(metrics) == 0
    assert _counted(metrics) == [("GET", "/hang", "504", "error")]


async def test_cancelled(app: FastAPI, metrics: Metrics) -> None:
    """A request that the server gives up is counted, as an error without an answer, and stays cancelled."""
    serving = asyncio.create_task(Call(app, "GET", "/hang").run())
    await until(lambda: _in_flight(metrics) == 1)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert _in_flight(metrics) == 0
    assert _counted(metrics) == [("GET", "/hang", "499", "error")]


async def test_stream_is_measured_to_its_last_byte(app: FastAPI, metrics: Metrics) -> None:
    """A stream is in flight until its end, may outlast the deadline while it moves, and takes as long as it took."""
    answer = await call(app, "GET", "/stream")

    assert (answer.body, answer.complete) == (b"xxxx", True)
    assert _counted(metrics) == [("GET", "/stream", "200", "ok")]
    labels = {"method": "GET", "route": "/stream", "outcome": "ok"}
    took = metrics.registry.get_sample_value("http_request_duration_seconds_sum", labels)
    assert took is not None
    assert took >= 2 * DEADLINE_S


async def test_broken_stream_is_an_error(app: FastAPI, metrics: Metrics) -> None:
    """A body that breaks off is an error though its status was 200, and never looks whole."""
    answer = await call(app, "GET", "/broken-stream")

    assert not answer.complete
    assert _counted(metrics) == [("GET", "/broken-stream", "200", "error")]


async def test_monitoring_is_not_counted(app: FastAPI, metrics: Metrics) -> None:
    """Probes carry ids like all answers, and dilute no ratio."""
    answer = await call(app, "GET", "/livez")

    assert "x-request-id" in answer.headers
    assert _counted(metrics) == []


async def test_exemplar(app: FastAPI, metrics: Metrics) -> None:
    """The histogram's exemplar leads to the trace."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await call(app, "GET", "/top/1", headers=[("traceparent", f"00-{trace}-00f067aa0ba902b7-01")])

    exemplars = [
        sample.exemplar
        for family in metrics.registry.collect()
        if family.name == "http_request_duration_seconds"
        for sample in family.samples
        if sample.exemplar
    ]
    assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": trace}]


def _ids(answer: Answer) -> tuple[str, str]:
    return answer.headers["x-request-id"], answer.headers["traceparent"].split("-")[1]


@pytest.mark.parametrize(
    "hostile",
    [
        "short",
        "x" * 129,
        "has space inside",
        "line\r\nSet-Cookie: a=b",
        "<script>alert(1)</script>",
        "käse-käse-käse",
        "",
    ],
)
async def test_hostile_request_id(app: FastAPI, hostile: str) -> None:
    """An id that is not a plain word is replaced, and nothing of it comes back."""
    answer = await call(app, "GET", "/top/1", headers=[("X-Request-ID", hostile)])

    correlation_id, trace_id = _ids(answer)
    assert correlation_id == trace_id
    assert not hostile or hostile not in str(answer.headers)


async def test_contradicting_request_ids(app: FastAPI) -> None:
    """Of two ids neither is believed."""
    headers = [("X-Request-ID", "first-first"), ("X-Request-ID", "second-second")]
    answer = await call(app, "GET", "/top/1", headers=headers)

    assert _ids(answer)[0] not in ("first-first", "second-second")


async def test_traceparent_is_continued(app: FastAPI) -> None:
    """The caller's trace goes on in a span of our own, sampled as the caller decided."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    answer = await call(app, "GET", "/top/1", headers=[("traceparent", parent)])

    version, trace_id, span_id, flags = answer.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "00")
    assert span_id != "00f067aa0ba902b7"
    assert answer.headers["x-request-id"] == trace_id


@pytest.mark.parametrize(
    "parent",
    [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "nonsense",
    ],
)
async def test_malformed_traceparent(app: FastAPI, parent: str) -> None:
    """What W3C Trace Context calls invalid starts a new trace."""
    answer = await call(app, "GET", "/top/1", headers=[("traceparent", parent)])

    assert answer.headers["traceparent"].split("-")[1] not in parent.lower()


async def test_traceparent_of_a_later_version(app: FastAPI) -> None:
    """A later version may say more after the flags; its ids are still ours to continue."""
    parent = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more"
    answer = await call(app, "GET", "/top/1", headers=[("traceparent", parent)])

    assert answer.headers["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert answer.headers["traceparent"].endswith("-01")
