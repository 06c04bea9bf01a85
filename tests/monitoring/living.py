"""A real Prometheus and Alertmanager on rendered files, watching a world that a test controls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from chaos.runtime.monitoring import (
    Alertmanager,
    MonitoringRender,
    Prometheus,
    WebhookSink,
    backfill_openmetrics,
    write_backfill,
)
from chaos.runtime.timescale import scale_duration
from chaos.setup.locate import tool
from tests.compose.promtool import ROOT
from tests.compose.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RPS = 200.0
READY_LIMIT_S = 10.0
DEPENDENCIES = ("redis-cache", "postgres", "s3")


@dataclass
class World:
    """What app and exporter tell; requests count up with time, `error` is their failing share."""

    error: float = 0.0
    cut: set[str] = field(default_factory=set)
    counts: dict[str, float] = field(
        default_factory=lambda: {"ok": 0.0, "degraded": 0.0, "error": 0.0}
    )
    since: float = field(default_factory=time.monotonic)

    def set_error(self, share: float) -> None:
        """Change the failing share from now on."""
        self.count()
        self.error = share

    def count(self) -> None:
        """Count the requests since the last call."""
        now = time.monotonic()
        passed, self.since = now - self.since, now
        self.counts["ok"] += RPS * passed * (1 - self.error)
        self.counts["error"] += RPS * passed * self.error

    async def app(self, _request: web.Request) -> web.Response:
        """Answer a scrape of the app."""
        self.count()
        lines = []
        for outcome, total in self.counts.items():
            labels = f'route="/api/v1/videos",method="GET",outcome="{outcome}"'
            lines += [
                f'http_requests_total{{{labels},status_code="200"}} {total}',
                f'http_request_duration_seconds_bucket{{{labels},le="0.5"}} {total}',
                f"http_request_duration_seconds_count{{{labels}}} {total}",
            ]
        lines += [
            f'app_dependency_up{{dependency="{d}"}} {int(d not in self.cut)}' for d in DEPENDENCIES
        ]
        return web.Response(text="\n".join(lines) + "\n")

    async def exporter(self, _request: web.Request) -> web.Response:
        """Answer a scrape of the exporter: the servers themselves are always up."""
        return web.Response(text="redis_up 1\npg_up 1\n")

    async def beside(self, _request: web.Request) -> web.Response:
        """Answer a scrape of worker or relay, which no rule asks yet."""
        return web.Response(text="outbox_pending 0\n")


@dataclass(frozen=True, slots=True)
class Living:
    """The living parts: clients, the recorder, and the process of Prometheus."""

    world: World
    prometheus: Prometheus
    alertmanager: Alertmanager
    sink: WebhookSink
    prometheus_process: asyncio.subprocess.Process


@asynccontextmanager
async def living(folder: Path, time_scale: float) -> AsyncIterator[Living]:
    """Start everything at `time_scale` on backfilled history, and end it."""
    world = World()
    async with contextlib.AsyncExitStack() as exits:
        app = await _serve(exits, world.app)
        exporter = await _serve(exits, world.exporter)
        sink = await exits.enter_async_context(WebhookSink())
        ports = {
            "prometheus:9090": f"127.0.0.1:{free_port()}",
            "alertmanager:9093": f"127.0.0.1:{free_port()}",
        }
        beside = await _serve(exits, world.beside)
        places = {"app:9000": app, "exporter:9100": exporter, **ports}
        places |= {"worker:9000": beside, "relay:9000": beside}
        write_files(folder, MonitoringRender(time_scale, sink.address), places)
        history = backfill_openmetrics(
            time_scale, time.time(), rate_rps=RPS, targets={"api": app, "exporter": exporter}
        )
        await write_backfill(tool("promtool"), folder / "data", history)
        await _start(
            exits,
            tool("alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'am'}",
            f"--web.listen-address={ports['alertmanager:9093']}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )
        process = await start_prometheus(exits, folder, ports["prometheus:9090"], time_scale)
        prometheus = await exits.enter_async_context(
            Prometheus(f"http://{ports['prometheus:9090']}")
        )
        alertmanager = await exits.enter_async_context(
            Alertmanager(f"http://{ports['alertmanager:9093']}")
        )
        async with asyncio.timeout(READY_LIMIT_S):
            while not (await prometheus.ready() and await alertmanager.ready()):  # noqa: ASYNC110 (a process)
                await asyncio.sleep(0.02)
        yield Living(world, prometheus, alertmanager, sink, process)


def write_files(folder: Path, render: MonitoringRender, places: dict[str, str]) -> None:
    """Write the production files as the local runtime would: rendered, with real addresses."""
    files = {"alertmanager.yml": ROOT / "compose/alertmanager/alertmanager.yml"}
    source = ROOT / "compose/prometheus"
    for path in (source / "prometheus.yml", *(source / "rules").glob("*.yml")):
        files[str(path.relative_to(source))] = path
    for name, path in files.items():
        component = "alertmanager" if name.startswith("alertmanager") else "prometheus"
        text = render(component, f"/etc/{name}", path.read_text())
        for marker, address in places.items():
            text = text.replace(marker, address)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


async def start_prometheus(
    exits: contextlib.AsyncExitStack, folder: Path, address: str, time_scale: float
) -> asyncio.subprocess.Process:
    """Start Prometheus with the flags that have to scale."""
    return await _start(
        exits,
        tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        f"--query.lookback-delta={scale_duration('5m', time_scale)}",
        f"--rules.alert.resend-delay={scale_duration('1m', time_scale)}",
        "--scrape.discovery-reload-interval=100ms",
        "--log.level=warn",
    )


async def _serve(exits: contextlib.AsyncExitStack, handler: object) -> str:
    app = web.Application()
    app.router.add_get("/metrics", handler)  # type: ignore[arg-type]  # a bound coroutine method
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    exits.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return f"{host}:{port}"


async def _start(exits: contextlib.AsyncExitStack, *command: object) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdin=asyncio.subprocess.DEVNULL
    )

    async def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        async with asyncio.timeout(READY_LIMIT_S):
            await process.wait()

    exits.push_async_callback(end)
    return process
