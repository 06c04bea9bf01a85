"""The exporter's metrics endpoint and the loops that keep its answers fresh.

`/metrics` never waits for a target: it shows the last answers, which are at most `INTERVAL_S` and
two limits old. An answer that is older (the exporter itself was stopped) is no knowledge, and no
knowledge is never shown as "up".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from prometheus_client import Metric

    from compose.standins.exporter.probes import Probe

INTERVAL_S = 0.2
STALE_S = 1.0

log = logging.getLogger("exporter")


class Answers(Collector):
    """Shows the last answers under the names that the well-known exporters use."""

    def __init__(self, redis: Probe, postgres: Probe, queue: Probe, *, queue_name: str) -> None:
        """Show the answers of three probes."""
        self._up = {"redis_up": redis, "pg_up": postgres}
        self._queue = queue
        self._queue_name = queue_name
        self.probes = (redis, postgres, queue)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of one scrape."""
        for name, probe in self._up.items():
            family = GaugeMetricFamily(name, f"Whether {probe.name} answered within the limit.")
            family.add_metric([], _fresh(probe) or 0.0)
            yield family
        length = GaugeMetricFamily(
            "celery_queue_length",
            "Tasks that wait in the queue; absent while the broker is away.",
            labels=["queue_name"],
        )
        if (waiting := _fresh(self._queue)) is not None:
            length.add_metric([self._queue_name], waiting)
        yield length
        yield from self._about_probes()

    def _about_probes(self) -> Iterator[Metric]:
        took = GaugeMetricFamily(
            "exporter_probe_duration_seconds", "How long the last probe took.", labels=["target"]
        )
        age = GaugeMetricFamily(
            "exporter_probe_age_seconds", "How old the last answer is.", labels=["target"]
        )
        failures = CounterMetricFamily(
            "exporter_probe_failures", "Probes without an answer.", labels=["target"]
        )
        for probe in self.probes:
            took.add_metric([probe.name], probe.answer.took_s)
            age.add_metric([probe.name], probe.age_s)
            failures.add_metric([probe.name], probe.failures)
        yield took
        yield age
        yield failures


def create_app(answers: Answers) -> web.Application:
    """Return the application that serves `/metrics` and probes in the background while it runs."""
    registry = CollectorRegistry()
    registry.register(answers)

    async def metrics(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    async def probing(_app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_keep_asking(probe)) for probe in answers.probes]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.cleanup_ctx.append(probing)
    return app


def _fresh(probe: Probe) -> float | None:
    return probe.answer.value if probe.age_s <= STALE_S else None


async def _keep_asking(probe: Probe) -> None:
    """Ask for ever, one line in the log at every change between answering and not."""
    answering: bool | None = None
    while True:
        answer = await probe.run_once()
        if answering is not (answer.value is not None):
            answering = answer.value is not None
            log.info(
                "%s %s", probe.name, "answers" if answering else f"does not answer: {answer.reason}"
            )
        await asyncio.sleep(INTERVAL_S)
