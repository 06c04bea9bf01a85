"""Two real backends on one seeded world: one has all that it needs, the other is refused by Redis."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.app.contract.api import Api
from tests.app.system import System, seeded_system
from tests.app.test_process import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

# A slow machine must not turn into answers that only a slow backend gives.
PATIENT = {"REQUEST_DEADLINE_S": "20", "SHED_WAIT_S": "10", "FORWARDED_ALLOW_IPS": "127.0.0.1"}


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Servers and a world of their own: these tests change accounts and videos."""
    with seeded_system(tmp_path_factory.mktemp("contract")) as system:
        yield system


@pytest.fixture(scope="package")
def healthy(world: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a backend with all its dependencies."""
    with backend(world, tmp_path_factory.mktemp("healthy"), **PATIENT) as running:
        yield _ready("healthy", running.port)


@pytest.fixture(scope="package")
def redis_refused(world: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return a backend whose connections to Redis are refused, with the breaker open."""
    folder = tmp_path_factory.mktemp("redis_refused")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        address = f"redis://127.0.0.1:{closed.getsockname()[1]}"
        away = {"REDIS_URL": f"{address}/0", "BROKER_URL": f"{address}/1"}
        with backend(world, folder, **PATIENT, **away) as running:
            api = _ready("redis_refused", running.port)
            answer = [api.ask("GET /api/v1/videos/trending") for _ in range(100)][-1]
            assert answer.headers["x-degraded"] == ["cache"]
            report = api.ask("GET /api/v1/health/detailed").json()
            assert report["components"]["redis-cache"]["breaker"] != "closed"
            yield api


@pytest.fixture(scope="package", params=["healthy", "redis_refused"])
def api(request: pytest.FixtureRequest) -> Api:
    """Return one backend after the other."""
    one: Api = request.getfixturevalue(request.param)
    return one


def _ready(name: str, port: int) -> Api:
    api = Api(name, f"http://127.0.0.1:{port}")
    api.sign_in()
    return api
