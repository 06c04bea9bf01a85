"""Celery's application as workers run it: `celery`, with its tasks, and the settings that only a worker has.

Its own logging, results, events and remote control are off: logs go through the backend's pipeline, results are rows,
and how workers are is told by metrics.
"""

from __future__ import annotations

import logging
import signal
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from celery.apps.worker import Worker
from celery.platforms import EX_OK, SecurityWarning
from celery.signals import setup_logging
from celery.worker import state
from celery.worker.consumer import Consumer

from app.core.metrics import QUEUE
from app.infrastructure.task_queue import make_celery
from app.worker.tasks import add_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from app.worker.tasks import Work

log = structlog.get_logger(component="worker")

RECONNECT_AFTER_S = 0.2
RECONNECT_MAX_S = 1.0
# At DEBUG the first two show whole messages. What the others say our own events tell, once and not at each try.
TALKATIVE = ("celery", "kombu")
QUIET = ("celery.worker.strategy", "celery.app.trace", "celery.worker.consumer")


class PromptConsumer(Consumer):  # type: ignore[misc] # untyped
    """Consumes, and is back within a second of the broker. Celery's own waits grow to half a minute."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(*arguments, **options)
        # What kombu raises for a message that is none. It is gone from the queue then; without this, so is the worker.
        known: tuple[type[BaseException], ...] = self.conninfo.connection_errors
        self.connection_errors = (*known, ValueError, KeyError, TypeError)

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - kombu's connection, untyped
        """Connect, however often it takes, unless the worker is to stop."""
        waits = {"interval_start": RECONNECT_AFTER_S, "interval_step": RECONNECT_AFTER_S}
        waits["interval_max"] = RECONNECT_MAX_S
        vars(conn)["ensure_connection"] = partial(conn.ensure_connection, **waits)
        super().ensure_connected(conn)
        log.info("broker_connected")
        return conn

    def call_soon_ack(
        self,
        settle: Callable[..., Any],
        logger: logging.Logger,
        _errors: object,
        *more: bool,
        **options: bool,
    ) -> None:
        """Acknowledge a message or give it back; a broker that cannot be told is lost.

        Celery writes a line and goes on. Its window of one message is full then for good, so it never asks for
        another: the worker lives and does nothing.
        """
        lost: tuple[type[BaseException], ...] = self.connection_errors
        try:
            settle(logger, (), *more, **options)
        except lost as error:
            self.hub.call_soon(_raise, error)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Say once that the broker was lost."""
        log.warning("broker_lost", error_type=type(exc).__name__)
        super().on_connection_error_after_connected(exc)


def _raise(error: BaseException) -> None:
    raise error


def make_worker_app(broker_url: str, work: Work) -> Celery:
    """Build the application of a worker whose tasks do `work`."""
    celery = make_celery(broker_url)
    celery.conf.update(
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_consumer="app.worker.celery_app:PromptConsumer",
        worker_pool="solo",
        worker_concurrency=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    add_tasks(celery, work)
    return celery


class PlainWorker(Worker):  # type: ignore[misc] # untyped
    """A worker that prints nothing and that signals stop; Celery's would start again on SIGHUP, and talk."""

    on_stop: Callable[[], None]

    def install_platform_tweaks(self, worker: Worker) -> None:
        """Let the task under way end on SIGTERM and SIGINT."""

        def stop(*_: object) -> None:
            state.should_stop = EX_OK
            worker.on_stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)


def run_worker(celery: Celery, on_stop: Callable[[], None]) -> int:
    """Consume until SIGTERM or SIGINT; return the exit code. `on_stop` is called in the signal's handler."""
    # As root it warns of pickled messages; it is told to accept JSON alone.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    setup_logging.connect(_no_logging, weak=False)
    for name in TALKATIVE:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    worker = PlainWorker(
        app=celery,
        queues=[QUEUE],
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.on_stop = on_stop
    worker.start()
    return int(worker.exitcode or 0)


def _no_logging(**_: Any) -> None:  # noqa: ANN401 - what Celery sends
    """Keep Celery from setting up logging: that somebody listens is enough."""
