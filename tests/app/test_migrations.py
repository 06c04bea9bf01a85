"""Migrations on a real PostgreSQL."""

from __future__ import annotations

from tests.app.servers import PostgresCluster
from tests.app.system import run_module

ALEMBIC = ("alembic", "-c", "app/alembic.ini")


def test_up_down_up() -> None:
    """Up, down to nothing and up again works, and the result is what the models say."""
    with PostgresCluster.made() as cluster, cluster.running() as postgres:
        url = f"postgresql+asyncpg://socialflow:socialflow@{postgres.address}/socialflow"
        for step in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head"), ("check",)):
            done = run_module({"DATABASE_URL": url}, *ALEMBIC, *step)
            assert done.returncode == 0, done.stdout + done.stderr


def test_without_address() -> None:
    """Without DATABASE_URL one line says what to set, and nothing is touched."""
    done = run_module({}, *ALEMBIC, "upgrade", "head")

    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL is missing")
    assert len(done.stderr.splitlines()) == 1
