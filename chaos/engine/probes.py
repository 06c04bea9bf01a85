"""Samplers: several times a second they read metrics, health and process states into samples."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING

import aiohttp

from chaos.checks.responsiveness import PROBE_LATENCY, PROBE_OWN_LAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from chaos.runtime.base import Stack

EVERY_S = 0.25
METRICS_EVERY_S = 1.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
LIMIT_S = 0.5
PROBE_EVERY_S = 0.1
PROBE_LIMIT_S = 1.0
LAG_EVERY_S = 0.005
PROBED = ("/livez",)
"""Paths whose answers are timed."""
FAMILIES = (
    "http_requests_total",
    "http_requests_in_flight",
    "app_breaker_state",
    "app_dependency_up",
    "app_fallback_total",
    "cache_operations_total",
    "storage_operations_total",
    "db_pool_connections",
    "views_total",
)
HISTOGRAMS = ("event_loop_lag_seconds",)
"""Histograms whose buckets are kept. Each costs a sample a bucket and read, so only those of which claims are made."""
_STARTS = (*FAMILIES, *(f"{name}_bucket" for name in HISTOGRAMS))
# Label values may hold braces (route templates), so the label set ends at a brace outside quotes.
_LINE = re.compile(
    r'^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? (?P<value>\S+)'
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series at one time; `labels` is a JSON object with sorted keys."""

    name: str
    labels: str
    t_s: float
    value: float


@dataclass(slots=True)
class Probes:
    """Reads the metrics, health, liveness and process states of `app_url`'s stack until cancelled."""

    stack: Stack
    metrics_url: str
    app_url: str
    now_s: Callable[[], float]
    samples: list[Sample] = field(default_factory=list)
    errors: int = 0

    async def run(self) -> None:
        """Sample every EVERY_S or METRICS_EVERY_S seconds, within LIMIT_S; a failed read is itself a sample."""
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            await asyncio.gather(
                self._loop(self._metrics, http),
                self._loop(self._health, http),
                self._states(),
                *(self._time(path) for path in PROBED),
            )

    async def read_metrics(self) -> list[Sample]:
        """Read the metrics once more, outside the loop. Raises `aiohttp.ClientError` or `TimeoutError`."""
        timeout = aiohttp.ClientTimeout(total=LIMIT_S * 4)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            return await self._metrics(http)

    async def _loop(
        self, read: Callable[[aiohttp.ClientSession], object], http: aiohttp.ClientSession
    ) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await read(http)  # type: ignore[misc]  # both readers are coroutines
                answered = 1.0
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                answered = 0.0
                self.errors += 1
            self._add("probe_answered", {"probe": read.__name__.strip("_")}, answered)
            every_s = METRICS_EVERY_S if read == self._metrics else EVERY_S
            await asyncio.sleep(max(0.0, began + every_s - asyncio.get_running_loop().time()))

    async def _metrics(self, http: aiohttp.ClientSession) -> list[Sample]:
        # In the form that the backend renders cheaply: each look costs it time that requests wait for.
        async with http.get(self.metrics_url, headers={"Accept": OPENMETRICS}) as response:
            text = await response.text()
        rows = list(parse_metrics(text, self.now_s()))
        self.samples.extend(rows)
        return rows

    async def _health(self, http: aiohttp.ClientSession) -> None:
        async with http.get(f"{self.app_url}/api/v1/health/detailed") as response:
            body = await response.json()
        for name, part in body.get("components", {}).items():
            self._add(
                "health_component", {"component": name, "status": str(part.get("status"))}, 1.0
            )
        self._add("health_status", {"status": str(body.get("status"))}, 1.0)

    async def _time(self, path: str) -> None:
        """Ask `path` every PROBE_EVERY_S and keep how long each answer took, beside how late our own loop was."""
        lag = LoopLag()
        timeout = aiohttp.ClientTimeout(total=PROBE_LIMIT_S)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as tasks:
            tasks.create_task(lag.watch())
            clock = asyncio.get_running_loop().time
            while True:
                sent_s, began = self.now_s(), clock()
                lag.forget()
                try:
                    async with http.get(f"{self.app_url}{path}") as response:
                        await response.read()
                        took_s = clock() - began if response.status == HTTPStatus.OK else inf
                except TimeoutError:
                    took_s = clock() - began
                except (aiohttp.ClientError, OSError):
                    took_s = inf
                for name, value_s in ((PROBE_LATENCY, took_s), (PROBE_OWN_LAG, lag.total_s())):
                    labels = json.dumps({"path": path})
                    self.samples.append(Sample(name, labels, sent_s, value_s * 1_000))
                await asyncio.sleep(max(0.0, began + PROBE_EVERY_S - clock()))

    async def _states(self) -> None:
        names = [c.name for c in self.stack.topology.components if not c.one_shot]
        while True:
            for name in names:
                state = await self.stack.state(name)
                self._add(
                    "component_running", {"component": name}, float(state.condition == "running")
                )
            await asyncio.sleep(EVERY_S * 2)

    def _add(self, name: str, labels: dict[str, str], value: float) -> None:
        self.samples.append(Sample(name, json.dumps(labels, sort_keys=True), self.now_s(), value))


@dataclass(slots=True)
class LoopLag:
    """Adds up how late this process's own event loop takes its turns, so that it is not blamed on what is probed."""

    late_s: float = 0.0
    due: float = 0.0

    async def watch(self) -> None:
        """Take a turn every LAG_EVERY_S until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            self.due = clock() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.late_s += max(0.0, clock() - self.due)

    def forget(self) -> None:
        """Count from now on."""
        self.late_s = 0.0

    def total_s(self) -> float:
        """Return the lateness since `forget`, that of a turn which is overdue right now included."""
        overdue = asyncio.get_running_loop().time() - self.due
        return self.late_s + max(0.0, overdue)


def parse_metrics(text: str, t_s: float) -> Iterable[Sample]:
    """Yield the samples of the families that checks and reports look at, from Prometheus' text format."""
    for line in text.splitlines():
        if not line.startswith(_STARTS) or ("_bucket{" in line and not line.startswith(HISTOGRAMS)):
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        labels = dict(_LABEL.findall(match["labels"] or ""))
        yield Sample(match["name"], json.dumps(labels, sort_keys=True), t_s, float(match["value"]))


def series_of(text: str, family: str) -> Iterable[tuple[dict[str, str], float]]:
    """Yield labels and value of each series that is called exactly `family`, from Prometheus' text format."""
    for line in text.splitlines():
        match = _LINE.match(line) if line.startswith(family) else None
        if match is not None and match["name"] == family:
            yield dict(_LABEL.findall(match["labels"] or "")), float(match["value"])


def server_outcomes(first: list[Sample], last: list[Sample]) -> dict[str, float]:
    """Return how many requests the server answered with each outcome between two reads of its metrics."""
    before = {s.labels: s.value for s in first if s.name == "http_requests_total"}
    out: dict[str, float] = {}
    for sample in last:
        if sample.name == "http_requests_total":
            outcome = json.loads(sample.labels).get("outcome", "")
            out[outcome] = out.get(outcome, 0.0) + sample.value - before.get(sample.labels, 0.0)
    return out


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Write samples as `samples.parquet`; more may be added meanwhile, by probes that go on."""
    import pandas as pd  # noqa: PLC0415 (0.5 s of import that a run pays while it waits anyway)

    samples = samples.copy()
    columns = {
        "name": [s.name for s in samples],
        "labels": [s.labels for s in samples],
        "t_s": [s.t_s for s in samples],
        "value": [s.value for s in samples],
    }
    pd.DataFrame(columns).to_parquet(path, index=False)
