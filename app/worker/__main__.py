"""Runs a worker: `python -m app.worker`. Settings come from the environment (`app.core.config`)."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from app.core.config import ConfigError, load_settings
from app.core.exposition import serve_metrics
from app.core.logging import configure_logging
from app.core.metrics import Metrics
from app.worker.celery_app import make_worker_app, run_worker
from app.worker.loop_thread import LoopThread
from app.worker.parts import Workshop, open_parts, work_folder
from app.worker.pipeline import Patience
from app.worker.workspace import sweep

if TYPE_CHECKING:
    from uuid import UUID

    from app.core.config import Settings
    from app.models import Task

GRACE_S = 5.0
"""How long a task under way may go on after SIGTERM; then it is given back. Compose kills after 10 s."""

log = structlog.get_logger(component="worker")


def main() -> int:
    """Work until SIGTERM or SIGINT; return the exit code."""
    started = start()
    if isinstance(started, int):
        return started
    settings, metrics = started
    sweep(work_folder(settings))
    with LoopThread() as loop:
        stack = AsyncExitStack()
        parts = loop.run(stack.enter_async_context(open_parts(settings, metrics)))
        workshop = Workshop.of(
            parts.database,
            parts.storage,
            metrics,
            folder=work_folder(settings),
            patience=Patience(lease_s=settings.processing_lease_s),
        )

        def work(task: Task, subject: UUID, correlation_id: str | None) -> None:
            loop.run(workshop.do(task, subject, correlation_id))

        log.info("worker_started", pid=os.getpid())
        code = run_worker(
            make_worker_app(settings.broker_url.get_secret_value(), work),
            on_stop=partial(loop.cancel_after, GRACE_S),
        )
        loop.finish(stack.aclose(), within_s=3.0)
    log.info("worker_stopped")
    return code


def start() -> tuple[Settings, Metrics] | int:
    """Read the settings, begin to log and to serve metrics; return the exit code instead when that cannot be."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    metrics = Metrics(CollectorRegistry())
    try:
        serve_metrics(metrics.registry, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        sys.stderr.write(
            f"METRICS_PORT={settings.metrics_port}: cannot listen on {settings.metrics_host} ({error.strerror}); "
            "choose a free port\n"
        )
        return 2
    return settings, metrics


if __name__ == "__main__":
    sys.exit(main())
