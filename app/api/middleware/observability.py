"""The one layer around every request: ids, context, deadline, limits, outcome, metrics and the access log.

Pure ASGI and one pass, since each layer of BaseHTTPMiddleware costs more than all of this and hides the end of a
stream. Whatever happens inside, the client gets an answer with its ids, and the request is counted once, when its
last byte was handed over or it ended without one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.middleware.correlation import correlate
from app.api.middleware.exchange import Exchange
from app.api.middleware.protection import (
    DOCUMENTATION,
    BodyTooLargeError,
    BodyTooSlowError,
    OverloadedError,
)
from app.core.context import current
from app.core.errors import DeadlineExceededError, problem_for
from app.core.logging import write_request
from app.core.resilience.deadline import deadline

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.api.middleware.protection import Protection
    from app.api.middleware.route_template import RouteTemplates
    from app.core.metrics import Metrics

PROBES = frozenset({"/livez", "/readyz", "/api/v1/health", "/api/v1/health/detailed"})
# Requests of monitoring and of readers of the documentation: they are no part of what users get.
UNCOUNTED = PROBES | DOCUMENTATION | {"/openapi.json"}

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Not registered anywhere, but widely read as: the client left before there was an answer.
CLIENT_CLOSED_REQUEST = 499
MAX_LOGGED_PATH = 200
# A trace leads from a histogram to its slow requests, each of them, and to one of the others a second.
SLOW_S = 0.5
EXEMPLAR_EVERY_S = 1.0

log = structlog.get_logger(component="api")


class _Series:
    """Where the requests of one set of labels are counted: `labels()` validates and locks, so its result is kept."""

    __slots__ = ("counter", "exemplar_due", "histogram")

    def __init__(self, counter: Counter, histogram: Histogram) -> None:
        self.counter = counter
        self.histogram = histogram
        self.exemplar_due = 0.0


class ObservabilityMiddleware:
    """Add it last with `add_middleware`, so that nothing but Starlette's own last resort is around it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        templates: RouteTemplates,
        metrics: Metrics,
        deadline_s: float,
        protection: Protection,
    ) -> None:
        """Give every request `deadline_s` to begin its answer."""
        self._app = app
        self._templates = templates
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._protection = protection
        self._shedder = protection.shedder
        # Statuses, outcomes, routes and methods are closed sets, so these are few.
        self._series: dict[tuple[str, str, int, str], _Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = scope["headers"]
        known = dict(headers)
        context = correlate(headers, known)
        exchange = Exchange(scope, receive, send, context, self._protection)
        token = current.set(context)
        # Probes are served whatever happens: who is overloaded must not look dead.
        sheddable = scope["path"] not in PROBES
        refused = self._shedder.admit() if sheddable else None
        try:
            if refused is None:
                await self._serve(exchange, known.get(b"content-length"))
            else:
                await self._answer(OverloadedError(), exchange)
        except BaseException:
            exchange.failed = True
            raise
        finally:
            if sheddable and refused is None:
                self._shedder.release()
            ended = time.perf_counter()
            context.route = self._templates.of(scope)
            counted = scope["path"] not in UNCOUNTED
            if counted:
                self._count(exchange, ended, ended - started)
            _log_access(exchange, ended - started, counted=counted)
            current.reset(token)

    async def _serve(self, exchange: Exchange, length: bytes | None) -> None:
        rule = exchange.rule
        limit = exchange.limit = deadline(self._deadline_s if rule is None else rule.idle_s)
        try:
            async with limit:
                if length is not None and _exceeds(length, exchange.max_body_bytes):
                    raise BodyTooLargeError(exchange.max_body_bytes)  # noqa: TRY301 - as those of the app
                await self._app(exchange.scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            # The client went away while it sent or received. What was answered until then stands.
            return
        except HTTPException as error:
            await self._answer(error, exchange)
        except DeadlineExceededError as error:
            if exchange.awaits_body:
                await self._answer(BodyTooSlowError(error.limit_s), exchange)
                return
            log.warning("deadline_exceeded", limit_s=error.limit_s)
            await self._answer(error, exchange)
        except Exception as error:
            log.exception("unhandled_error", error_type=type(error).__name__)
            await self._answer(error, exchange)

    async def _answer(self, error: Exception, exchange: Exchange) -> None:
        """Answer with a problem, unless an answer has begun.

        That one ends here without its last message, so the server cuts the connection: the client sees a broken
        transfer, and no short body that looks whole.
        """
        exchange.limit = None
        if exchange.status is not None:
            exchange.failed = True
            return
        answer: ASGIApp = problem_for(error)
        if self._protection.with_cors is not None:
            answer = self._protection.with_cors(answer)
        await answer(exchange.scope, exchange.receive, exchange.send)

    def _count(self, exchange: Exchange, now: float, duration_s: float) -> None:
        context = exchange.context
        method = exchange.scope["method"]
        if method not in METHODS:
            method = "OTHER"
        route, status = context.route or "", exchange.status or CLIENT_CLOSED_REQUEST
        outcome = exchange.outcome
        series = self._series.get((method, route, status, outcome))
        if series is None:
            series = self._series[method, route, status, outcome] = _Series(
                self._metrics.http_requests_total.labels(method, route, str(status), outcome),
                self._metrics.http_request_duration_seconds.labels(method, route, outcome),
            )
        series.counter.inc()
        if duration_s >= SLOW_S or now >= series.exemplar_due:
            series.exemplar_due = now + EXEMPLAR_EVERY_S
            series.histogram.observe(duration_s, {"trace_id": context.trace_id})
        else:
            series.histogram.observe(duration_s)


def _exceeds(length: bytes, max_bytes: int) -> bool:
    """Whether a Content-Length is too large. What is no number is the server's to refuse; bytes are counted too."""
    return length.isdigit() and (len(length) > len(str(max_bytes)) or int(length) > max_bytes)


def _log_access(exchange: Exchange, duration_s: float, *, counted: bool) -> None:
    context, scope = exchange.context, exchange.scope
    path = scope["path"]
    if len(path) > MAX_LOGGED_PATH:
        path = path[:MAX_LOGGED_PATH]
    status, outcome = exchange.status or CLIENT_CLOSED_REQUEST, exchange.outcome
    duration_ms = round(duration_s * 1000, 2)
    if (
        counted
        and not context.degraded
        and write_request(context, scope["method"], path, status, outcome, duration_ms)
    ):
        return
    fields: dict[str, Any] = {"degraded": sorted(context.degraded)} if context.degraded else {}
    write = log.info if counted else log.debug
    write(
        "http_request",
        route=context.route,
        method=scope["method"],
        path=path,
        status_code=status,
        outcome=outcome,
        duration_ms=duration_ms,
        **fields,
    )
