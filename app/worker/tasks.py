"""What can be asked of a worker. A task is a hint: what is to be done, and whether, the database says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from celery.exceptions import Reject

from app.core.resilience.guard import DependencyUnavailableError
from app.infrastructure.task_queue import CORRELATION_HEADER
from app.models import Task as Asked
from app.worker.loop_thread import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery, Task

    Work = Callable[[Asked, UUID, str | None], None]
    """Does a task. Raises DependencyUnavailableError, StoppedError when it may be asked for again."""

# While the database is away each task of the queue would fail in a moment, and all of them soon.
PAUSE_S = 0.5

log = structlog.get_logger(component="worker")


def add_tasks(celery: Celery, work: Work) -> None:
    """Add the tasks that the outbox can ask for."""
    for asked in Asked:
        celery.task(name=str(asked), bind=True)(_task(asked, work))


def _task(asked: Asked, work: Work) -> Callable[[Task, str], None]:
    def run(task: Task, subject: str) -> None:
        try:
            subject_id = UUID(subject)
        except (ValueError, AttributeError, TypeError):
            # Not from our relay. Whatever it is, another try would not make it better.
            log.warning("task_refused", task=str(asked))
            return
        try:
            work(asked, subject_id, _correlation_id(task))
        except StoppedError as stopped:
            raise Reject(str(stopped), requeue=True) from stopped
        except DependencyUnavailableError as unavailable:
            log.debug("task_given_back", task=str(asked), reason=unavailable.reason)
            time.sleep(PAUSE_S)
            raise Reject(str(unavailable), requeue=True) from unavailable
        log.debug("task_done", task=str(asked))

    return run


def _correlation_id(task: Task) -> str | None:
    headers: Any = task.request.headers or {}
    found = headers.get(CORRELATION_HEADER) if isinstance(headers, dict) else None
    return found if isinstance(found, str) else None
