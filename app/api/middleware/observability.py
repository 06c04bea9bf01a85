"""The one layer around every request: ids, context, deadline, outcome, metrics and the access log.

Pure ASGI and one pass, since each layer of BaseHTTPMiddleware costs more than all of this and hides the end of a
stream. Whatever happens inside, the client gets an answer with its ids, and the request is counted once, when its
last byte was handed over or it ended without one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from starlette.requests import ClientDisconnect

from app.api.middleware.correlation import Correlation, correlate
from app.core.context import RequestContext, current
from app.core.errors import DeadlineExceededError, problem_for
from app.core.resilience.deadline import deadline

if TYPE_CHECKING:
    from collections.abc import Collection

    from prometheus_client import Counter, Histogram
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.api.middleware.route_template import RouteTemplates
    from app.core.metrics import Metrics

# Requests of monitoring and of readers of the documentation: they are no part of what users get.
UNCOUNTED = frozenset(
    {
        "/livez",
        "/readyz",
        "/api/v1/health",
        "/api/v1/health/detailed",
        "/docs",
        "/redoc",
        "/openapi.json",
    }
)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Not registered anywhere, but widely read as: the client left before there was an answer.
CLIENT_CLOSED_REQUEST = 499
MAX_LOGGED_PATH = 200
# An answer that has begun may take as long as it needs, if it moves at least this often.
STREAM_IDLE_S = 10.0

log = structlog.get_logger(component="api")


@dataclass(slots=True)
class _Exchange:
    """One request and what has been answered so far."""

    send_on: Send
    ids: Correlation
    context: RequestContext
    status: int | None = None
    failed: bool = False
    limit: deadline | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets the headers that every answer carries."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = [
                *message.get("headers", ()),
                (b"x-request-id", self.context.correlation_id.encode("ascii")),
                (b"traceparent", self.ids.traceparent.encode("ascii")),
            ]
            if self.context.degraded:
                features = ", ".join(sorted(self.context.degraded))
                headers.append((b"x-degraded", features.encode("ascii")))
            message = {**message, "headers": headers}
        if self.limit is not None:
            # From here on it is the pace that is limited: a long stream is no slow answer.
            self.limit.extend(STREAM_IDLE_S)
        await self.send_on(message)

    @property
    def outcome(self) -> str:
        """Return what the client got: a fallback's answer is not an error, and says so."""
        if self.failed or self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "error"
        return "degraded" if self.context.degraded else "ok"


class ObservabilityMiddleware:
    """Add it last with `add_middleware`, so that nothing but Starlette's own last resort is around it."""

    def __init__(
        self, app: ASGIApp, *, templates: RouteTemplates, metrics: Metrics, deadline_s: float
    ) -> None:
        """Give every request `deadline_s` to begin its answer."""
        self._app = app
        self._templates = templates
        self._metrics = metrics
        self._deadline_s = deadline_s
        # `labels()` validates and locks; these keep its results for the few sets of labels that exist.
        self._counters: dict[tuple[str, str, int, str], Counter] = {}
        self._histograms: dict[tuple[str, str, str], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ids = correlate(scope["headers"])
        context = RequestContext(ids.correlation_id, ids.trace_id)
        exchange = _Exchange(send, ids, context)
        counted = scope["path"] not in UNCOUNTED
        token = current.set(context)
        if counted:
            self._metrics.http_requests_in_flight.inc()
        started = time.perf_counter()
        try:
            await self._serve(scope, receive, exchange)
        except BaseException:
            exchange.failed = True
            raise
        finally:
            duration_s = time.perf_counter() - started
            context.route = self._templates.of(scope)
            if counted:
                self._metrics.http_requests_in_flight.dec()
                self._count(scope, exchange, duration_s)
            _log_access(scope, exchange, duration_s, counted=counted)
            current.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        try:
            async with deadline(self._deadline_s) as exchange.limit:
                await self._app(scope, receive, exchange.send)
        except ClientDisconnect:
            # The client went away while it sent or received. What was answered until then stands.
            return
        except DeadlineExceededError as error:
            log.warning("deadline_exceeded", limit_s=error.limit_s)
            await self._fail(error, scope, receive, exchange)
        except Exception as error:
            log.exception("unhandled_error", error_type=type(error).__name__)
            await self._fail(error, scope, receive, exchange)

    async def _fail(
        self, error: Exception, scope: Scope, receive: Receive, exchange: _Exchange
    ) -> None:
        """Answer with a problem, unless an answer has begun.

        That one ends here without its last message, so the server cuts the connection: the client sees a broken
        transfer, and no short body that looks whole.
        """
        begun = exchange.status is not None
        exchange.failed = True
        exchange.limit = None
        if not begun:
            await problem_for(error)(scope, receive, exchange.send)

    def _count(self, scope: Scope, exchange: _Exchange, duration_s: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = exchange.context.route or ""
        outcome = exchange.outcome
        status = exchange.status or CLIENT_CLOSED_REQUEST
        key = (method, route, status, outcome)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._metrics.http_requests_total.labels(method, route, str(status), outcome)
            self._counters[key] = counter
        counter.inc()
        histogram = self._histograms.get((method, route, outcome))
        if histogram is None:
            histogram = self._metrics.http_request_duration_seconds.labels(method, route, outcome)
            self._histograms[(method, route, outcome)] = histogram
        histogram.observe(duration_s, {"trace_id": exchange.ids.trace_id})


def _log_access(scope: Scope, exchange: _Exchange, duration_s: float, *, counted: bool) -> None:
    write = log.info if counted else log.debug
    extra: dict[str, Collection[str]] = {}
    if exchange.context.degraded:
        extra["degraded"] = sorted(exchange.context.degraded)
    write(
        "http_request",
        method=scope["method"],
        route=exchange.context.route,
        path=scope["path"][:MAX_LOGGED_PATH],
        status=exchange.status or CLIENT_CLOSED_REQUEST,
        outcome=exchange.outcome,
        duration_ms=round(duration_s * 1000, 2),
        **extra,
    )
