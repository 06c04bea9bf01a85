"""The inference server, a process of its own: `python -m app.ml_pipelines.server [--no-verify]`.

It speaks the Open Inference Protocol (`app.ml_pipelines.rest`). Settings come from the environment, by the names of
`ServerSettings` in upper case. Without a model that can be believed it starts all the same, says that it is not ready,
and serves once one is deployed and `load` is called.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import timedelta
from pathlib import Path  # noqa: TC003 - pydantic reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

import uvicorn
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    disable_created_metrics,
)
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.config import Settings
from app.core.exposition import serve_metrics
from app.core.logging import configure_logging
from app.ml_pipelines.rest import InferenceServer
from app.ml_pipelines.serving import Limits, ServerMetrics, Serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.applications import Starlette

GRACEFUL_SHUTDOWN_S = 3
# Longer than clients keep an idle connection, so that they close first and no request is lost.
KEEP_ALIVE_S = 75
MAX_CONNECTIONS = 256


class ServerSettings(BaseSettings):
    """Every knob of the server."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9000
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    model_dir: Path
    ml_verify: bool = True
    """Whether a model is checked before it is served; switched off, a bad deployment goes through."""
    ml_model_max_age_s: Annotated[float, Field(gt=0)] = 30 * 24 * 3600.0
    ml_deadline_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    ml_max_in_flight: Annotated[int, Field(ge=1, le=1024)] = 32
    ml_work_units: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Extra work for each user of a batch, about 1 ms of one core a unit."""

    def limits(self, *, verify: bool) -> Limits:
        """Return what predictions may take. To verify, both the command line and the environment must want it."""
        return Limits(
            deadline_s=self.ml_deadline_s,
            max_in_flight=self.ml_max_in_flight,
            work_units=self.ml_work_units,
            max_age=timedelta(seconds=self.ml_model_max_age_s),
            verify=verify and self.ml_verify,
        )


def build(settings: ServerSettings, metrics: ServerMetrics, *, verify: bool) -> Starlette:
    """Return the application."""
    serving = Serving(settings.model_dir, settings.limits(verify=verify), metrics)
    return InferenceServer(serving, metrics).app()


def _settings() -> ServerSettings | str:
    """Return the settings, or what is wrong with them, one line a mistake."""
    try:
        return ServerSettings()
    except ValidationError as error:
        lines = [
            f"{str(problem['loc'][0]).upper()}: {problem['msg'].lower()}; correct it in the environment"
            for problem in error.errors()
        ]
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.ml_pipelines.server", description=__doc__)
    parser.add_argument(
        "--no-verify", action="store_true", help="serve what is deployed, whatever it is"
    )
    given = parser.parse_args(arguments)
    settings = _settings()
    if isinstance(settings, str):
        sys.stderr.write(f"{settings}\n")
        return 2
    # Of the backend's settings only these two; its secrets are none of this process's business.
    configure_logging(
        Settings.model_construct(log_format=settings.log_format, log_level=settings.log_level)
    )
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = ServerMetrics(CollectorRegistry())
    ProcessCollector(registry=metrics.registry)
    GCCollector(registry=metrics.registry)
    try:
        exposed, _ = serve_metrics(metrics.registry, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        sys.stderr.write(
            f"METRICS_PORT={settings.metrics_port}: cannot listen on {settings.metrics_host} ({error.strerror}); "
            "choose a free port\n"
        )
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            build(settings, metrics, verify=not given.no_verify),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )
    for stop in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn stops gracefully on these, then raises them again; a stop that went well is exit 0.
        signal.signal(stop, lambda *_: None)
    server.run()
    exposed.shutdown()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
