"""The backend's real dependencies, one process each on a free loopback port, and what the backend is built from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from app.core.config import Settings
from app.core.metrics import Metrics
from tests.app.servers import PostgresCluster, Server, object_store_server, valkey_server
from tests.app.system import System, seeded_system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from app.core.resilience.breaker import Breaker, BreakerState

WAIT_S = 10.0


@pytest.fixture
def metrics() -> Metrics:
    """All families on a registry of the test's own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def sample(metrics: Metrics) -> Callable[..., float]:
    """Read one series: `sample("views_total")`, `sample("app_breaker_state", name="s3", state="open")`; 0 if unborn."""

    def read(name: str, /, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    return read


@pytest.fixture
def valkey() -> Iterator[Server]:
    """A Valkey of the test's own."""
    with valkey_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A data folder, made once: initdb costs more than a start."""
    with PostgresCluster.made() as cluster:
        yield cluster


@pytest.fixture
def postgres(postgres_cluster: PostgresCluster) -> Iterator[Server]:
    """A PostgreSQL of the test's own on the shared data folder."""
    with postgres_cluster.running() as server:
        yield server


@pytest.fixture
def object_store_process(tmp_path: Path) -> Iterator[Server]:
    """An S3 server of the test's own, without buckets."""
    with object_store_server(tmp_path / "s3") as server:
        yield server


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """All servers with a seeded world on them, made once."""
    with seeded_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults, with a local store of the test's own."""
    return Settings(local_store_dir=tmp_path / "local")


async def until(condition: Callable[[], bool], *, within_s: float = WAIT_S) -> None:
    """Wait until `condition` holds; fail when it does not come true in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - servers set no event
            await asyncio.sleep(0.005)


def state_of(breaker: Breaker) -> BreakerState:
    """Return the state of now; a call, because type checkers take an attribute for unchanged."""
    return breaker.state
