"""PostgreSQL, well, refused, frozen, killed: fast failures, and recovery without a restart."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import CursorResult, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from app.core.resilience.breaker import BreakerState
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.infrastructure.database import (
    BREAKER,
    CALL_TIMEOUT_S,
    MAX_WAIT_S,
    POOL_SIZE,
    Database,
    database_guard,
)
from tests.app.conftest import state_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.core.resilience.guard import Guard
    from tests.app.servers import Server

pytestmark = pytest.mark.live


@asynccontextmanager
async def database_on(server: Server, metrics: Metrics) -> AsyncIterator[tuple[Database, Guard]]:
    """Build a database on `server`, with its guard."""
    guard = database_guard(metrics)
    url = f"postgresql+asyncpg://socialflow:socialflow@{server.address}/socialflow"
    database = Database(url, guard, metrics)
    try:
        yield database, guard
    finally:
        await database.close()


async def query(database: Database, statement: str, operation: str = "select") -> Any:
    """Run one statement and return the first value, or None."""

    async def run(session: AsyncSession) -> Any:
        result = await session.execute(text(statement))
        return result.scalar() if isinstance(result, CursorResult) and result.returns_rows else None

    return await database.run(run, operation=operation, table="videos")


async def failure(database: Database, statement: str = "SELECT 1") -> tuple[Reason, float]:
    """Run a statement that must fail; return why and after how long."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(DependencyUnavailableError) as failed:
        await query(database, statement)
    assert failed.value.status == 503
    return failed.value.reason, loop.time() - begun


async def until_back(database: Database, *, within_s: float) -> float:
    """Ask again and again until there is an answer; return how long it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(within_s):
        while True:
            try:
                assert await query(database, "SELECT 1") == 1
                return loop.time() - begun
            except DependencyUnavailableError:
                await asyncio.sleep(0.02)


async def test_work_is_done_committed_and_measured(
    postgres: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """What an insert wrote is there for the next select; both are timed, and so is the wait for a connection."""
    async with database_on(postgres, metrics) as (database, _):
        await query(database, "CREATE TABLE IF NOT EXISTS kept (n int)", "update")
        await query(database, "TRUNCATE kept", "update")
        await query(database, "INSERT INTO kept VALUES (7)", "insert")
        assert await query(database, "SELECT n FROM kept") == 7

    timed = {"operation": "insert", "table": "videos"}
    assert sample("db_query_duration_seconds_count", **timed) == 1
    assert sample("db_pool_wait_seconds_count") == 4


async def test_work_that_fails_leaves_nothing(postgres: Server, metrics: Metrics) -> None:
    """An error in the middle takes back what the unit of work had written."""
    async with database_on(postgres, metrics) as (database, _):
        await query(database, "CREATE TABLE IF NOT EXISTS kept (n int)", "update")
        await query(database, "TRUNCATE kept", "update")

        async def half(session: AsyncSession) -> None:
            await session.execute(text("INSERT INTO kept VALUES (1)"))
            raise LookupError("changed my mind")

        with pytest.raises(LookupError, match="changed my mind"):
            await database.run(half, operation="insert", table="videos")
        assert await query(database, "SELECT count(*) FROM kept") == 0


async def test_a_select_needs_no_transaction(postgres: Server, metrics: Metrics) -> None:
    """Two statements of a read see two moments, those of a write one: a read costs no BEGIN and no COMMIT."""

    async def moments(session: AsyncSession) -> set[Any]:
        return {(await session.execute(text("SELECT now()"))).scalar() for _ in range(2)}

    async with database_on(postgres, metrics) as (database, _):
        assert len(await database.run(moments, operation="select", table="videos")) == 2
        assert len(await database.run(moments, operation="update", table="videos")) == 1


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT nothing FROM nowhere", ProgrammingError),
        ("SELEC 1", ProgrammingError),
        ("DO $$ BEGIN RAISE unique_violation; END $$", IntegrityError),
    ],
)
async def test_the_callers_mistake_is_no_outage(
    postgres: Server, metrics: Metrics, statement: str, error: type[Exception]
) -> None:
    """A wrong query passes its error on and never opens the breaker."""
    async with database_on(postgres, metrics) as (database, guard):
        for _ in range(BREAKER.window):
            with pytest.raises(error):
                await query(database, statement, "update")
        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_refused_fails_at_once_and_recovers(postgres: Server, metrics: Metrics) -> None:
    """A dead server: each call fails in milliseconds, the breaker opens; after its start all is well again."""
    async with database_on(postgres, metrics) as (database, guard):
        await database.warm()
        postgres.kill()
        failures = [await failure(database) for _ in range(BREAKER.minimum_calls + 5)]
        reasons = [reason for reason, _ in failures]

        assert state_of(guard.breaker) is BreakerState.OPEN
        assert reasons[0] in {Reason.REFUSED, Reason.RESET}
        assert reasons[-1] is Reason.BREAKER_OPEN
        assert max(took_s for _, took_s in failures) < 0.25
        postgres.start()
        assert await until_back(database, within_s=5.0) < 2.0
        for _ in range(BREAKER.half_open_calls - 1):
            assert await query(database, "SELECT 1") == 1
        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_a_restart_goes_unnoticed_when_nobody_asked(
    postgres: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """Pooled connections that the server closed are replaced before use: no error, and no ping on each use."""
    async with database_on(postgres, metrics) as (database, guard):
        await database.warm()
        assert sample("db_pool_connections", state="idle") == POOL_SIZE
        postgres.kill()
        await asyncio.to_thread(postgres.start)
        for _ in range(POOL_SIZE):
            assert await query(database, "SELECT 1") == 1
        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_frozen_ends_every_call_in_time_and_recovers(
    postgres: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """A hung server holds nobody for longer than the timeout, opens the breaker and keeps no connection."""
    async with database_on(postgres, metrics) as (database, guard):
        await database.warm()
        postgres.stop()
        failures = await asyncio.gather(*(failure(database) for _ in range(POOL_SIZE)))

        assert {reason for reason, _ in failures} == {Reason.TIMEOUT}
        assert max(took_s for _, took_s in failures) < CALL_TIMEOUT_S + 0.2
        assert state_of(guard.breaker) is BreakerState.OPEN
        assert sample("db_pool_connections", state="checked_out") == 0
        assert (await failure(database))[1] < 0.05
        postgres.resume()
        assert await until_back(database, within_s=5.0) < 2.0
        for _ in range(BREAKER.half_open_calls - 1):
            assert await query(database, "SELECT 1") == 1
        assert state_of(guard.breaker) is BreakerState.CLOSED
        await asyncio.gather(*(query(database, "SELECT 1") for _ in range(POOL_SIZE)))


async def test_more_work_than_connections_waits_shortly_or_is_refused(
    postgres: Server, metrics: Metrics
) -> None:
    """Nobody queues for longer than the limit, and being many is not held against the server."""
    async with database_on(postgres, metrics) as (database, guard):
        await database.warm()
        long_ones = [
            asyncio.create_task(query(database, "SELECT pg_sleep(0.6)")) for _ in range(POOL_SIZE)
        ]
        await until(lambda: guard.bulkhead.in_flight == POOL_SIZE)
        reason, took_s = await failure(database)
        await (
            database.ping()
        )  # its connection is its own, so a full pool does not look like an outage
        await asyncio.gather(*long_ones)

        assert reason is Reason.BULKHEAD_FULL
        assert took_s < MAX_WAIT_S + 0.15
        assert state_of(guard.breaker) is BreakerState.CLOSED
        assert await query(database, "SELECT 1") == 1


async def test_a_caller_that_leaves_gives_its_connection_back(
    postgres: Server, metrics: Metrics, sample: Callable[..., float]
) -> None:
    """Cancelled in the middle of a query, again and again: the pool stays whole."""
    async with database_on(postgres, metrics) as (database, _):
        for _ in range(2 * POOL_SIZE):
            call = asyncio.create_task(query(database, "SELECT pg_sleep(5)"))
            await until(lambda: sample("db_pool_connections", state="checked_out") == 1)
            await asyncio.sleep(0.005)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert sample("db_pool_connections", state="checked_out") == 0
        await asyncio.gather(*(query(database, "SELECT 1") for _ in range(POOL_SIZE)))


async def test_ping_tells_the_truth_within_its_limit(postgres: Server, metrics: Metrics) -> None:
    """Well: silent. Frozen: an error in time. Well again: silent, on a new connection."""
    async with database_on(postgres, metrics) as (database, _):
        await database.ping()
        postgres.stop()
        async with asyncio.timeout(1.0):
            with pytest.raises(TimeoutError):
                await database.ping()
        postgres.resume()
        await database.ping()


async def test_a_session_of_a_one_shot_commits_only_when_told(
    postgres: Server, metrics: Metrics
) -> None:
    """Outside the guard nothing is kept by accident."""
    async with database_on(postgres, metrics) as (database, _):
        await query(database, "CREATE TABLE IF NOT EXISTS kept (n int)", "update")
        await query(database, "TRUNCATE kept", "update")
        async with database.session() as session:
            await session.execute(text("INSERT INTO kept VALUES (1)"))
        async with database.session() as session:
            await session.execute(text("INSERT INTO kept VALUES (2)"))
            await session.commit()
        assert await query(database, "SELECT sum(n) FROM kept") == 2
