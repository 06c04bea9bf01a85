"""The exporter tells the truth about real servers while they run, hang, are dead, and come back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from redis.asyncio import Redis

from tests.compose.promtool import ROOT
from tests.compose.servers import free_port, postgres, server_folder, valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.compose.servers import Server

TELL_WITHIN_S = 1.0
"""Two probe intervals, two limits, and a machine that is busy."""
SCRAPE_LIMIT_S = 0.2
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Exporter:
    """The exporter's process and its metrics."""

    def __init__(self, port: int) -> None:
        """Ask the exporter on `port`."""
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.slowest_s = 0.0

    async def metrics(self) -> dict[str, float]:
        """Scrape once and return the samples by name."""
        begun = time.monotonic()
        limit = aiohttp.ClientTimeout(total=2)
        async with (
            aiohttp.ClientSession(timeout=limit) as http,
            http.get(self.url, headers=OPENMETRICS) as response,
        ):
            text = await response.text()
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # no hints
        return {s.name: s.value for f in families for s in f.samples if "target" not in s.labels}

    async def until(self, within_s: float = TELL_WITHIN_S, **wanted: float | None) -> float:
        """Wait until the metrics are as `wanted` (None: absent) and return how long that took."""
        begun = time.monotonic()
        while True:
            seen = await self.metrics()
            if all(seen.get(name) == value for name, value in wanted.items()):
                return time.monotonic() - begun
            assert time.monotonic() - begun < within_s, (
                f"{seen} after {within_s:g} s; expected {wanted}"
            )
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """Run a Valkey and a PostgreSQL."""
    with server_folder() as folder:
        redis, database = valkey(free_port()), postgres(folder, free_port())
        try:
            redis.start()
            database.start()
            yield redis, database
        finally:
            redis.kill()
            database.kill()


@pytest.fixture
async def exporter(servers: tuple[Server, Server]) -> AsyncIterator[Exporter]:
    """Run the exporter as a process of its own and wait for its first good answers."""
    redis, database = servers
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "compose.standins.exporter",
        cwd=ROOT,
        env={
            "PORT": str(port),
            "POSTGRES_DSN": f"postgresql://socialflow@127.0.0.1:{database.port}/postgres",
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "BROKER_URL": f"redis://127.0.0.1:{redis.port}/1",
        },
        stderr=asyncio.subprocess.DEVNULL,
    )
    asked = Exporter(port)
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    await asked.until(5, redis_up=1, pg_up=1, celery_queue_length=0)
                    break
                await asyncio.sleep(0.05)
        asked.slowest_s = 0.0
        yield asked
    finally:
        process.terminate()
        async with asyncio.timeout(5):
            await process.wait()


@pytest.mark.parametrize("how", ["hangs", "is dead"])
async def test_redis_that_is_away_is_told_at_once(
    exporter: Exporter, servers: tuple[Server, Server], how: str
) -> None:
    """While Redis is away redis_up is 0 and the queue unknown, pg_up stays 1, scrapes stay fast."""
    redis, _ = servers
    _take_away(redis, how)
    try:
        await exporter.until(redis_up=0, pg_up=1, celery_queue_length=None)
    finally:
        _bring_back(redis, how)

    await exporter.until(redis_up=1, pg_up=1, celery_queue_length=0)
    assert exporter.slowest_s < SCRAPE_LIMIT_S


@pytest.mark.parametrize("how", ["hangs", "is dead"])
async def test_a_database_that_is_away_is_told_at_once(
    exporter: Exporter, servers: tuple[Server, Server], how: str
) -> None:
    """pg_up is 0 while PostgreSQL hangs or is dead, redis_up stays 1, scrapes stay fast."""
    _, database = servers
    _take_away(database, how)
    try:
        await exporter.until(pg_up=0, redis_up=1)
        await asyncio.sleep(
            1
        )  # the truth must last as long as the fault, over several new connections
        await exporter.until(0.1, pg_up=0, redis_up=1)
    finally:
        _bring_back(database, how)

    await exporter.until(3 if how == "is dead" else TELL_WITHIN_S, pg_up=1, redis_up=1)
    assert exporter.slowest_s < SCRAPE_LIMIT_S


async def test_the_queue_is_counted_where_celery_keeps_it(
    exporter: Exporter, servers: tuple[Server, Server]
) -> None:
    """celery_queue_length is the length of the list `video_processing` in the broker's database."""
    async with Redis(host="127.0.0.1", port=servers[0].port, db=1, socket_timeout=1) as broker:
        await broker.rpush("video_processing", "a", "b", "c")
        try:
            await exporter.until(celery_queue_length=3)
        finally:
            await broker.delete("video_processing")

    await exporter.until(celery_queue_length=0)


def test_a_missing_setting_is_one_clear_line() -> None:
    """Without its targets the exporter ends with 2 and says which settings are missing."""
    done = subprocess.run(
        [sys.executable, "-m", "compose.standins.exporter"],
        cwd=ROOT,
        env={"REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "exporter: POSTGRES_DSN, BROKER_URL not set; expected the address of each target"
    ]


def _take_away(server: Server, how: str) -> None:
    if how == "hangs":
        server.signal(signal.SIGSTOP)
    else:
        server.kill()


def _bring_back(server: Server, how: str) -> None:
    if how == "hangs":
        server.signal(signal.SIGCONT)
    else:
        server.start()
