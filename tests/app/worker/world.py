"""Uploaded videos, and the processes that work on them: real ones, killed when the test says so."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from app.bucket import store_client
from app.core.metrics import Metrics
from app.infrastructure.broker import broker_guard
from app.infrastructure.task_queue import PUBLISH_TIMEOUT_S, TaskQueue, classify_publish
from app.seed.world import build_world
from app.services.media import object_keys, source_key
from tests.app.log_lines import checked_lines
from tests.app.servers import free_port
from tests.app.system import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    import asyncpg
    from minio import Minio

    from tests.app.system import System

# Other work may have this machine's processors meanwhile; nothing waits longer than for what it wants.
WITHIN_S = 40.0
POLL_S = 0.02
TITLE = "of a test of the work on videos"
# Short, so that what waits for something to run out does not wait long.
QUICK = {
    "PROCESSING_LEASE_S": "1.5",
    "RECONCILE_AFTER_S": "1",
    "HEALTH_CHECK_INTERVAL_S": "0.2",
    "LOG_LEVEL": "DEBUG",
}


@dataclass
class Process:
    """A running worker or relay."""

    process: subprocess.Popen[bytes]
    metrics_port: int
    log_file: Path

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of an event; all lines must be of the log's format."""
        lines = checked_lines(self.log_file.read_text())
        return [line for line in lines if line["event"] == event]

    def text(self) -> str:
        """Return what it has logged."""
        return self.log_file.read_text()

    def metrics(self) -> str:
        """Return what it exports."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.process.kill()
        self.process.wait(5)

    def terminate(self) -> int:
        """Ask it to end (SIGTERM); return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN_S)


@dataclass
class Place:
    """A system on which videos are worked on."""

    system: System
    folder: Path
    database: asyncpg.Connection

    @property
    def store(self) -> Minio:
        """A client of the object store, beside the backend."""
        return store_client(self.system.settings())

    @contextmanager
    def running(self, module: str, **environment: str) -> Iterator[Process]:
        """Run `python -m module` until the end of the block."""
        port = free_port()
        log_file = self.folder / f"{module}-{port}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    **self.system.environment,
                    **QUICK,
                    "METRICS_PORT": str(port),
                    **environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started = Process(process, port, log_file)
        try:
            yield started
        finally:
            started.kill()

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[TaskQueue]:
        """Give a publisher of the test's own."""
        metrics = Metrics(CollectorRegistry())
        guard = broker_guard(metrics, timeout_s=PUBLISH_TIMEOUT_S, classify=classify_publish)
        queue = TaskQueue(self.system.environment["BROKER_URL"], guard, metrics)
        try:
            yield queue
        finally:
            await queue.close()

    @contextmanager
    def worker(self, **environment: str) -> Iterator[Process]:
        """Run a worker that is connected."""
        with self.running("app.worker", **environment) as worker:
            wait_until(lambda: bool(worker.events("broker_connected")), worker)
            yield worker

    @contextmanager
    def relay(self, **environment: str) -> Iterator[Process]:
        """Run a relay."""
        with self.running("app.worker.relay", **environment) as relay:
            wait_until(lambda: bool(relay.events("relay_started")), relay)
            yield relay

    async def upload(self, source: bytes, *, correlation_id: str | None = None) -> UUID:
        """Do what an upload leaves behind: the source, and video and outbox row in one transaction."""
        video_id = uuid4()
        key = source_key(video_id)
        path = self.folder / str(video_id)
        path.write_bytes(source)
        self.store.fput_object("media", key, str(path), content_type="video/mp4")
        await self.add_row(video_id, source, correlation_id=correlation_id)
        return video_id

    async def add_row(
        self, video_id: UUID, source: bytes, *, correlation_id: str | None = None
    ) -> None:
        """Write the rows of an upload alone."""
        async with self.database.transaction():
            await self.database.execute(
                "INSERT INTO videos (id, owner_id, title, duration_s, size_bytes, content_type, checksum_sha256)"
                " VALUES ($1, $2, $3, 0, $4, 'video/mp4', $5)",
                *(video_id, build_world().users[0].id, TITLE, len(source)),
                hashlib.sha256(source).hexdigest(),
            )
            await self.database.execute(
                "INSERT INTO outbox (task, subject, correlation_id) VALUES ('process_video', $1, $2)",
                *(video_id, correlation_id),
            )

    async def status(self, video_id: UUID) -> str:
        """Return how far it is."""
        return str(
            await self.database.fetchval("SELECT status FROM videos WHERE id = $1", video_id)
        )

    async def effects(self, video_id: UUID) -> list[str]:
        """Return how often, and how, the work on it ended."""
        rows = await self.database.fetch(
            "SELECT effect FROM processing_effects WHERE video_id = $1 ORDER BY id", video_id
        )
        return [row["effect"] for row in rows]

    async def ended(self, video_id: UUID, *watched: Process, within_s: float = WITHIN_S) -> str:
        """Wait until the work on it has ended; return how."""
        ends_at = time.monotonic() + within_s
        while await self.status(video_id) == "processing":
            if time.monotonic() > ends_at:
                raise AssertionError("\n".join(p.text() for p in watched) or "not ended")
            time.sleep(POLL_S)  # noqa: ASYNC251 - nothing else runs in this loop
        return await self.status(video_id)

    async def ended_aside(self, video_id: UUID) -> str:
        """Wait likewise, while the work is done in this very loop."""
        async with asyncio.timeout(WITHIN_S):
            while await self.status(video_id) == "processing":  # noqa: ASYNC110 - a row
                await asyncio.sleep(POLL_S)
        return await self.status(video_id)

    def objects_of(self, video_id: UUID) -> set[str]:
        """Return the keys in the store that belong to a video."""
        found = {o.object_name for o in self.store.list_objects("media", recursive=True)}
        return {key for key in found if str(video_id) in key}


def complete(video_id: UUID) -> set[str]:
    """Return the keys that a video that has been worked on must have."""
    return set(object_keys(video_id))


def wait_until(
    condition: Callable[[], bool], *watched: Process, within_s: float = WITHIN_S
) -> None:
    """Wait until it holds; fail, with what the watched have logged, when it does not or one of them ends."""
    ends_at = time.monotonic() + within_s
    while not condition():
        ended = [p for p in watched if p.process.poll() is not None]
        if ended or time.monotonic() > ends_at:
            raise AssertionError("\n".join(p.text() for p in watched) or "did not come true")
        time.sleep(POLL_S)
