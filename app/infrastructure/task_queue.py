"""The queue that carries tasks to the workers: Celery's, in Redis.

A publish that failed is ambiguous: the broker may have the task, and the answer was lost. So nothing here is the only
memory of a task. The outbox asks for it until a publish has been confirmed, the reconciler until it has been done, and
whoever does it allows for asking twice.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from celery import Celery
from celery.exceptions import OperationalError

from app.core.metrics import QUEUE
from app.core.resilience.guard import DependencyUnavailableError, Reason, causes
from app.infrastructure.broker import TIMEOUT_S as ASK_TIMEOUT_S
from app.infrastructure.broker import broker_client, classify_broker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.core.metrics import Metrics
    from app.core.resilience.guard import Guard

# kombu's own limits on a connection; without them a publish into a hang waits for ever.
SOCKET_TIMEOUT_S = 0.5
PUBLISH_TIMEOUT_S = 2.0
"""Above what those limits add up to with one more try (1.5 s), so that a thread is seldom given up."""

VISIBILITY_TIMEOUT_S = 60
HEALTH_CHECK_INTERVAL_S = 2
"""A worker's silent connection is dropped after a second and two of these: a hang is noticed in 5 s, not in 51."""

CORRELATION_HEADER = "request_id"


def make_celery(broker_url: str) -> Celery:
    """Build Celery's application, for publishers and workers alike. Nothing connects yet.

    The broker alone: results are rows of the database.
    """
    celery = Celery("socialflow", broker=broker_url, set_as_current=False)
    celery.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.1},
        broker_connection_timeout=SOCKET_TIMEOUT_S,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "health_check_interval": HEALTH_CHECK_INTERVAL_S,
            # One list: its length is the queue's length.
            "priority_steps": [0],
        },
    )
    return celery


def task_id(task: str, subject: UUID) -> str:
    """Return the id of a task: the same each time that it is asked for."""
    return f"{task}:{subject}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Which tasks wait in the queue, from the next to be taken on; `complete` unless there are more than was asked."""

    ids: frozenset[str]
    complete: bool


class TaskQueue:
    """Publishes tasks, and looks at what waits."""

    def __init__(self, broker_url: str, guard: Guard, metrics: Metrics) -> None:
        """Connect at the first call; `guard` is the broker's (`broker_guard`)."""
        self._guard = guard
        self._celery = make_celery(broker_url)
        # kombu blocks, and a blocked thread cannot be cancelled: one of its own, which is either free or not asked.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._stuck = False
        self._redis = broker_client(broker_url)
        self._enqueued = metrics.task_enqueue_total

    @property
    def refusing(self) -> bool:
        """Whether a call made now would not reach the broker."""
        return self._guard.breaker.refusing

    async def publish(self, task: str, subject: UUID, correlation_id: str | None) -> None:
        """Ask for `task` on `subject`. Raises DependencyUnavailableError; the task may be in the queue all the same."""
        send = partial(
            self._celery.send_task,
            task,
            (str(subject),),
            task_id=task_id(task, subject),
            headers={CORRELATION_HEADER: correlation_id} if correlation_id else {},
        )
        try:
            await self._guard.call(partial(self._in_thread, send))
        except DependencyUnavailableError:
            self._enqueued.labels(QUEUE, "error").inc()
            raise
        self._enqueued.labels(QUEUE, "ok").inc()

    async def waiting(self, limit: int) -> Waiting:
        """Return the first `limit` tasks of the queue. Raises DependencyUnavailableError."""

        async def ask() -> Sequence[bytes | str]:
            async with asyncio.timeout(2 * ASK_TIMEOUT_S):
                # Publishers push on the left, workers take from the right.
                return await self._redis.lrange(QUEUE, -limit - 1, -1)

        messages = await self._guard.call(ask)
        ids = frozenset(filter(None, map(_id_of, messages[-limit:])))
        return Waiting(ids, complete=len(messages) <= limit)

    async def close(self) -> None:
        """Let go of the connections; a thread that is stuck ends with its socket's limit."""
        if not self._stuck:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._celery.close)
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._redis.aclose()

    async def _in_thread(self, send: Any) -> None:  # noqa: ANN401 - a partial of an untyped library
        if self._stuck:
            raise TimeoutError("the publish before this one has not ended yet")
        loop = asyncio.get_running_loop()
        self._stuck = True
        future = self._threads.submit(send)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._freed))
        await asyncio.wrap_future(future)

    def _freed(self) -> None:
        self._stuck = False


def _id_of(message: bytes | str) -> str | None:
    """Return the id of a message, None when it is none of ours."""
    try:
        found = orjson.loads(message)["headers"]["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def classify_publish(error: Exception) -> Reason | None:
    """Name why the broker failed. kombu wraps what Redis's client raised, sometimes without a cause."""
    reason = classify_broker(error)
    if reason is None and any(isinstance(link, OperationalError) for link in causes(error)):
        return Reason.ERROR
    return reason
