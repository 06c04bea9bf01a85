"""Runs migrations on the database that DATABASE_URL names, one migrator at a time."""

from __future__ import annotations

import asyncio
import os
import time

import structlog
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.config import ConfigError, load_settings
from app.core.logging import configure_logging
from app.models import Base

# Any fixed number: it names the lock that keeps two migrators apart.
MIGRATION_LOCK = 7_204_113
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 60

log = structlog.get_logger(component="migrations")


def database_url() -> str:
    """Return the address of the database, from the environment alone: no secret stands in a file."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgresql+asyncpg://"):
        msg = (
            "DATABASE_URL is missing or not of the form postgresql+asyncpg://user:password@host:port/name; "
            "set it to the address of the database to migrate"
        )
        raise SystemExit(msg)
    return url


def log_as_the_backend_does() -> None:
    """Send alembic's and SQLAlchemy's lines through the backend's pipeline; without this they go nowhere."""
    try:
        configure_logging(load_settings())
    except ConfigError as error:
        raise SystemExit(str(error)) from None


def migrate(connection: Connection) -> None:
    """Run the migrations in one transaction. PostgreSQL's DDL is transactional: all or nothing."""
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def main() -> None:
    """Connect, migrate, let go."""
    started = time.perf_counter()
    url = database_url()
    log_as_the_backend_does()
    engine = create_async_engine(
        url,
        poolclass=pool.NullPool,
        connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S},
    )
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()
    duration_ms = round((time.perf_counter() - started) * 1000)
    log.info("migrations_done", status="success", duration_ms=duration_ms)


if context.is_offline_mode():
    context.configure(
        url=database_url(),
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(main())
