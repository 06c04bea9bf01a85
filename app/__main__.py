"""Runs the backend: `python -m app`. Settings come from the environment (`app.core.config`)."""

from __future__ import annotations

import gc
import signal
import sys

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from app.core.config import ConfigError, load_settings
from app.core.exposition import serve_metrics
from app.core.logging import configure_logging
from app.core.metrics import Metrics
from app.main import create_app

# Requests in flight get this long to end; each is bounded by its deadline, which is shorter.
GRACEFUL_SHUTDOWN_S = 5
# Longer than clients keep an idle connection: the side that closes first must be the client, or a request that is
# sent at that moment is lost.
KEEP_ALIVE_S = 75
# New objects, and younger collections, after which each generation is collected.
COLLECT_AFTER = (10_000, 20, 50)

log = structlog.get_logger(component="app")


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    metrics = Metrics(CollectorRegistry())
    try:
        metrics_server, _ = serve_metrics(
            metrics.registry, settings.metrics_host, settings.metrics_port
        )
    except OSError as error:
        sys.stderr.write(
            f"METRICS_PORT={settings.metrics_port}: cannot listen on {settings.metrics_host} ({error.strerror}); "
            "choose a free port\n"
        )
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, metrics),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            # Who may say where a request came from. Without this uvicorn would believe anybody on this machine.
            proxy_headers=bool(settings.forwarded_allow_ips),
            forwarded_allow_ips=settings.forwarded_allow_ips,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )
    collect_rarely()
    for stop in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn stops gracefully on these, then raises them again; a stop that went well is exit 0.
        signal.signal(stop, lambda *_: None)
    server.run()
    metrics_server.shutdown()
    return 0 if server.started else 1


def collect_rarely() -> None:
    """Spare requests the garbage collector's walks over all that was imported, and most of its walks over what is new.

    The modules live as long as the process. What a request leaves behind is nearly always freed by counting, so the
    collector need not look after each 700 new objects: that took a tenth of a request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


if __name__ == "__main__":
    sys.exit(main())
