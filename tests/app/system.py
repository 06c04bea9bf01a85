"""The whole system around the backend: a seeded world on real servers, and the application on it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from prometheus_client import CollectorRegistry

from app.core.config import Settings
from app.core.metrics import Metrics
from app.main import create_app
from tests.app.servers import (
    PostgresCluster,
    Server,
    live_origin_server,
    object_store_server,
    valkey_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi import FastAPI

ROOT = Path(__file__).parents[2]
ONE_SHOT_WITHIN_S = 60
ONE_SHOTS = (
    ("alembic", "-c", "app/alembic.ini", "upgrade", "head"),
    ("app.bucket",),
    ("app.seed",),
)


@dataclass(frozen=True)
class System:
    """Servers with a seeded world on them, and the environment that leads there."""

    postgres: Server
    valkey: Server
    object_store: Server
    live_origin: Server
    environment: dict[str, str]

    def settings(self, **changes: object) -> Settings:
        """Return settings of an application on these servers."""
        values = {name.lower(): value for name, value in self.environment.items()}
        return Settings.model_validate({**values, "health_check_interval_s": 0.1, **changes})


def environment_of(
    postgres: Server, valkey: Server, object_store: Server, live_origin: Server, folder: Path
) -> dict[str, str]:
    """Return what the backend reads from its environment."""
    return {
        "DATABASE_URL": f"postgresql+asyncpg://socialflow:socialflow@{postgres.address}/socialflow",
        "REDIS_URL": f"redis://{valkey.address}/0",
        "BROKER_URL": f"redis://{valkey.address}/1",
        "S3_ENDPOINT": object_store.address,
        "LIVE_ORIGIN_URL": f"http://{live_origin.address}",
        "LOCAL_STORE_DIR": str(folder / "local"),
    }


def run_module(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m …` in the repository as a one-shot service would be."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=ONE_SHOT_WITHIN_S,
        check=False,
    )


@contextmanager
def seeded_system(folder: Path) -> Iterator[System]:
    """Start the servers, migrate, make the bucket, seed."""
    with ExitStack() as stack:
        cluster = stack.enter_context(PostgresCluster.made())
        postgres = stack.enter_context(cluster.running())
        valkey = stack.enter_context(valkey_server())
        store = stack.enter_context(object_store_server(folder / "s3"))
        live = stack.enter_context(live_origin_server(folder / "live"))
        environment = environment_of(postgres, valkey, store, live, folder)
        for arguments in ONE_SHOTS:
            done = run_module(environment, *arguments)
            assert done.returncode == 0, done.stderr
        yield System(postgres, valkey, store, live, environment)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[FastAPI]:
    """Run an application's lifespan around a test, as a server would."""
    app = create_app(settings, Metrics(CollectorRegistry()))
    async with app.router.lifespan_context(app):
        yield app


async def query(system: System, statement: str, *values: object) -> Any:
    """Run a statement on the system's database, beside the backend; return the first value of its answer."""
    url = system.environment["DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()
