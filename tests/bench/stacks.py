"""What the instrumented application is compared with: the same routes on the same services, run the same way.

`bare` has no middleware, no metrics of requests and no logs. `usual` does what ours does (an id for each request, in
its answer and its line; counter, gauge and histogram by route template; one JSON line a request) with the libraries
that most projects take, as their documentation shows it: the instrumentator's own metrics, and the access log in a
function under `@app.middleware("http")`.

Two more show what is behind the figures and promise nothing. `collected` is bare with the settings of the garbage
collector that `python -m app` makes. `sparing` is usual with every advantage that its user could give it: only the
metrics that ours has, and an access log in pure ASGI.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import uvicorn
from asgi_correlation_id import CorrelationIdFilter, CorrelationIdMiddleware
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator import metrics as instrumentator_metrics

from app.__main__ import collect_rarely
from app.api.v1.endpoints.health import probes
from app.api.v1.router import router
from app.core.config import load_settings
from app.core.metrics import HTTP_BUCKETS_S, Metrics
from app.main import _lifespan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

access = logging.getLogger("access")


def bare() -> FastAPI:
    """Return the routes and their services, and nothing else."""
    app = FastAPI(
        lifespan=_lifespan,
        # As in the application: FastAPI's own telemetry would cost, and none of the three is to have it.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings = load_settings()
    app.state.metrics = Metrics(CollectorRegistry())
    app.state.lag_monitor = nullcontext()  # it belongs to the load shedding
    app.include_router(probes)
    app.include_router(router)
    logging.disable(logging.CRITICAL)
    return app


def usual() -> FastAPI:
    """Return the same with the usual libraries around it, as their documentation shows."""
    app = _with_ids_and_lines()
    registry = CollectorRegistry()
    _instrumentator(registry).instrument(app)

    @app.middleware("http")
    async def log_access(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        _log(request.scope, response.status_code, started)
        return response

    app.add_middleware(CorrelationIdMiddleware)
    return app


def sparing() -> FastAPI:
    """Return the usual libraries at their cheapest."""
    app = _with_ids_and_lines()
    registry = CollectorRegistry()
    _instrumentator(registry).add(
        instrumentator_metrics.requests(registry=registry),
        instrumentator_metrics.latency(
            buckets=HTTP_BUCKETS_S, should_include_status=False, registry=registry
        ),
    ).instrument(app)
    app.add_middleware(AccessLog)
    app.add_middleware(CorrelationIdMiddleware)
    return app


def _with_ids_and_lines() -> FastAPI:
    app = bare()
    logging.disable(logging.NOTSET)
    _log_json()
    return app


def _instrumentator(registry: CollectorRegistry) -> Instrumentator:
    return Instrumentator(
        should_group_status_codes=False,
        should_instrument_requests_inprogress=True,
        excluded_handlers=["/livez", "/readyz"],
        registry=registry,
    )


def collected() -> FastAPI:
    """Return the bare application, with the garbage collector set as `python -m app` sets it."""
    app = bare()
    collect_rarely()
    return app


class AccessLog:
    """One line a request."""

    def __init__(self, app: ASGIApp) -> None:
        """Log what `app` answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, observe)
        finally:
            _log(scope, status, started)


def _log(scope: Scope, status: int, started: float) -> None:
    access.info(
        "http_request",
        extra={
            "method": scope["method"],
            "route": getattr(scope.get("route"), "path", None),
            "path": scope["path"],
            "status_code": status,
            "duration_ms": round((time.perf_counter() - started) * 1000, 2),
        },
    )


class JsonFormatter(logging.Formatter):
    """The lines that ours writes, by the standard library."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        return json.dumps(
            {
                "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
                "level": record.levelname,
                "service": "social-flow-backend",
                "component": record.name,
                "event": record.getMessage(),
                "correlation_id": getattr(record, "correlation_id", None),
                "method": getattr(record, "method", None),
                "route": getattr(record, "route", None),
                "path": getattr(record, "path", None),
                "status_code": getattr(record, "status_code", None),
                "duration_ms": getattr(record, "duration_ms", None),
            }
        )


def _log_json() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(CorrelationIdFilter(uuid_length=32))
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


STACKS = {"bare": bare, "usual": usual, "collected": collected, "sparing": sparing}


def main() -> None:
    """Serve one of them as `python -m app` serves ours."""
    settings = load_settings()
    uvicorn.run(
        STACKS[sys.argv[1]](),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
