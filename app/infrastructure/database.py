"""PostgreSQL: the one dependency without a fallback. It answers, or the caller hears so at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from app.core.resilience.breaker import BreakerConfig
from app.core.resilience.guard import Guard, Reason, build_guard, causes, classify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.engine import AdaptedConnection

    from app.core.metrics import Metrics

T = TypeVar("T")

DEPENDENCY = "postgres"

POOL_SIZE = 10
# Callers beyond the pool wait for this long and no more; longer would turn a slow query into a full house.
# The queue takes a second of traffic, which is what a stalled process finds when it goes on.
MAX_WAITING = 256
MAX_WAIT_S = 0.5
CALL_TIMEOUT_S = 1.0
PROBE_TIMEOUT_S = 0.5
CONNECT_TIMEOUT_S = 0.5
CLOSE_TIMEOUT_S = 0.05
# Nets for work outside the guard, and for what the server would go on with after a cut.
COMMAND_TIMEOUT_S = 1.5
STATEMENT_TIMEOUT_MS = 2000

BREAKER = BreakerConfig(
    window=20,
    minimum_calls=10,
    failure_rate=0.5,
    slow_call_s=0.75,
    slow_call_rate=0.8,
    # Half a second: users get 503 meanwhile, and recovery is promised within seconds of the heal.
    open_s=0.5,
    half_open_calls=3,
)

# SQLSTATE classes in which the server is to blame: connection, resources, operator, system, internal.
_SERVER_FAULTS = ("08", "53", "57", "58", "XX", "28", "F0")
_CALLERS_OWN = (IntegrityError, ProgrammingError, DataError, NotSupportedError)


class PromptConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that is closed promptly.

    SQLAlchemy allows a broken connection 2 s to say goodbye. A server that hangs uses all of them, and each caller
    would wait for it after its own timeout.
    """

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """Close within `CLOSE_TIMEOUT_S`, then cut."""
        limit_s = CLOSE_TIMEOUT_S if timeout is None else min(timeout, CLOSE_TIMEOUT_S)
        await super().close(timeout=limit_s)


def classify_database(error: Exception) -> Reason | None:
    """Name why PostgreSQL failed, or None for errors of the caller: a constraint, a wrong query, wrong data.

    asyncpg's TimeoutError and ConnectionError come through SQLAlchemy unwrapped, so all kinds are looked at.
    """
    if isinstance(error, PoolTimeoutError):
        return Reason.BULKHEAD_FULL
    reason = classify(error)
    if reason is not None:
        return reason
    for link in causes(error):
        if isinstance(link, asyncpg.PostgresError):
            state = link.sqlstate or ""
            return Reason.ERROR if state.startswith(_SERVER_FAULTS) else None
        if isinstance(link, asyncpg.InterfaceError | DisconnectionError | InterfaceError):
            return Reason.RESET
        if isinstance(link, DBAPIError) and link.connection_invalidated:
            return Reason.RESET
    return None


def database_guard(metrics: Metrics) -> Guard:
    """Build the guard of PostgreSQL. Its bulkhead is the pool's size, so that nobody waits inside the pool."""
    return build_guard(
        DEPENDENCY,
        timeout_s=CALL_TIMEOUT_S,
        probe_timeout_s=PROBE_TIMEOUT_S,
        breaker=BREAKER,
        max_concurrent=POOL_SIZE,
        max_waiting=MAX_WAITING,
        max_wait_s=MAX_WAIT_S,
        classify=classify_database,
        gauge=metrics,
    )


class Database:
    """Sessions on a pool. `run` is the way for requests; `session` is for one-shots, which have no guard."""

    def __init__(self, url: str, guard: Guard, metrics: Metrics) -> None:
        self._guard = guard
        self._metrics = metrics
        # The bulkhead has as many places as the pool has connections, so its wait is the wait for one.
        self._pool_wait = metrics.db_pool_wait_seconds
        self._engine = create_async_engine(
            url,
            pool_size=guard.bulkhead.max_concurrent,
            max_overflow=0,
            pool_timeout=MAX_WAIT_S,
            # The last one back is the first one out: its statements are prepared, its caches warm.
            pool_use_lifo=True,
            # No pre-ping: it costs three round trips a query. See `_refuse_closed`.
            pool_pre_ping=False,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": COMMAND_TIMEOUT_S,
                "connection_class": PromptConnection,
                "server_settings": {
                    "application_name": "social-flow-backend",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "jit": "off",  # compiling costs more than our short queries
                },
            },
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        # A single SELECT needs no BEGIN and no COMMIT: one round trip for three.
        self._reads = async_sessionmaker(
            self._engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False
        )
        self._ping_lock = asyncio.Lock()
        self._ping_connection: PromptConnection | None = None
        self._ping_dsn = url.replace("postgresql+asyncpg://", "postgresql://", 1)
        pool: Any = self._engine.sync_engine.pool
        metrics.watch_pool(
            size=guard.bulkhead.max_concurrent,
            checked_out=pool.checkedout,
            idle=pool.checkedin,
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Give a session outside the guard; what is not committed is rolled back."""
        async with self._sessions() as session:
            yield session

    async def run(
        self, fn: Callable[[AsyncSession], Awaitable[T]], *, operation: str, table: str
    ) -> T:
        """Run `fn` in a session and commit; raise `DependencyUnavailableError` (503) when PostgreSQL fails.

        `operation` is `select`, `insert`, `update` or `delete`. A `select` runs without a transaction: each of its
        statements sees what is committed then. `fn` may commit itself and must not begin anything outside.
        """
        reads = operation == "select"
        sessions = self._reads if reads else self._sessions
        duration = self._metrics.db_query_duration_seconds.labels(operation, table)
        asked = perf_counter()

        async def work() -> T:
            begun = perf_counter()
            self._pool_wait.observe(begun - asked)
            try:
                async with sessions() as session:
                    result = await fn(session)
                    if not reads:
                        await session.commit()
                    return result
            finally:
                duration.observe(perf_counter() - begun)

        return await self._guard.call(work)

    async def warm(self) -> None:
        """Open the pool's connections now, at start, and not when the cache is lost and each is needed."""
        async with asyncio.timeout(CALL_TIMEOUT_S * 5), AsyncExitStack() as opened:
            for _ in range(self._guard.bulkhead.max_concurrent):
                await opened.enter_async_context(self._engine.connect())

    async def ping(self) -> None:
        """Ask for a sign of life on a connection of its own, so that a full pool does not look like an outage."""
        async with self._ping_lock:
            try:
                if self._ping_connection is None or self._ping_connection.is_closed():
                    self._ping_connection = await asyncpg.connect(
                        self._ping_dsn, timeout=CONNECT_TIMEOUT_S, connection_class=PromptConnection
                    )
                await self._ping_connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT_S)
            except BaseException:
                if self._ping_connection is not None:
                    self._ping_connection.terminate()
                self._ping_connection = None
                raise

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
        if self._ping_connection is not None:
            self._ping_connection.terminate()
            self._ping_connection = None


def _refuse_closed(dbapi_connection: AdaptedConnection, _record: object, _proxy: object) -> None:
    """Refuse a pooled connection whose socket was closed meanwhile; the pool then opens another.

    The event loop has seen the reset or the end of the stream, so looking costs no round trip, unlike a ping.
    """
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError("the server or the way to it closed this connection")
