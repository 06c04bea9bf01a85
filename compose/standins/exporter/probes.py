"""The questions that the exporter asks, each over a connection of its own and within a limit.

A target that hangs accepts connections and answers nothing, so every step, connecting included,
runs under one limit; after a failure the connection is dropped, so that the next probe starts clean
the moment the target is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 0.2
"""How long a target may take: long for a healthy one, short for a scrape interval."""

PROBE_ERRORS = (OSError, TimeoutError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Question(Protocol):
    """Something to ask a target."""

    async def ask(self) -> float:
        """Return the answer; raise one of `PROBE_ERRORS` when there is none."""

    async def drop(self) -> None:
        """Forget the connection without waiting for the other side."""


class RedisQuestion:
    """A question to one Redis; subclasses say which."""

    def __init__(self, url: str) -> None:
        """Ask the Redis at `url`, without retry: trying twice would hide what a probe looks for."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=LIMIT_S,
            socket_connect_timeout=LIMIT_S,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=False,
            max_connections=2,
        )

    async def ask(self) -> float:
        """Return the answer; raise one of `PROBE_ERRORS` when there is none."""
        raise NotImplementedError

    async def drop(self) -> None:
        """Forget the connection without waiting for the other side."""
        await self._redis.connection_pool.disconnect(inuse_connections=True)


class RedisPing(RedisQuestion):
    """Asks whether Redis is up."""

    async def ask(self) -> float:
        """Return 1 when Redis answers PING."""
        return 1.0 if await self._redis.ping() else 0.0


class QueueLength(RedisQuestion):
    """Asks how many tasks wait in a Celery queue."""

    def __init__(self, url: str, queue: str) -> None:
        """Ask the broker at `url` for the list that kombu keeps `queue` in."""
        super().__init__(url)
        self._queue = queue

    async def ask(self) -> float:
        """Return the queue's length; an empty queue has no list and counts as 0."""
        return float(await self._redis.llen(self._queue))


class PostgresSelect:
    """Asks whether PostgreSQL is up."""

    def __init__(self, dsn: str) -> None:
        """Ask the server at `dsn`."""
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None

    async def ask(self) -> float:
        """Return 1 when the server runs a statement."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, timeout=LIMIT_S, command_timeout=LIMIT_S
            )
        return float(await self._connection.fetchval("SELECT 1"))

    async def drop(self) -> None:
        """Forget the connection without waiting for the other side."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer of a probe: `value` is None when there was none, `reason` then says why."""

    value: float | None
    reason: str
    took_s: float
    at: float


class Probe:
    """Asks one question again and again and keeps the last answer."""

    def __init__(
        self, name: str, question: Question, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask `question`; nothing is known before the first answer."""
        self.name = name
        self.failures = 0
        self.answer = Answer(None, "not asked yet", 0.0, clock())
        self._question = question
        self._clock = clock

    @property
    def age_s(self) -> float:
        """The age of the last answer in seconds."""
        return self._clock() - self.answer.at

    async def run_once(self) -> Answer:
        """Ask once, within `LIMIT_S`."""
        begun = self._clock()
        value: float | None = None
        reason = ""
        try:
            async with asyncio.timeout(LIMIT_S):
                value = await self._question.ask()
        except PROBE_ERRORS as error:
            reason = type(error).__name__
            self.failures += 1
            with contextlib.suppress(*PROBE_ERRORS):
                async with asyncio.timeout(LIMIT_S):
                    await self._question.drop()
        self.answer = Answer(value, reason, self._clock() - begun, self._clock())
        return self.answer
