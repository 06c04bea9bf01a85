"""Prometheus and Alertmanager for one run: a fresh healthy past, our webhook, and the facts at the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from chaos.runtime.monitoring import backfill_openmetrics, render, write_backfill
from chaos.setup.locate import tool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.runtime.base import Stack

ALERTMANAGER_CONFIG = "/etc/alertmanager/alertmanager.yml"
PROMETHEUS_DATA = "/prometheus"
NOWHERE = "127.0.0.1:9"
"""Where a stack without a run delivers to: the discard port, which nobody serves."""
TARGETS = (("api", "app", 9000), ("exporter", "exporter", 9100))
"""Scrape job, component and metrics port of what the rules ask."""


async def reset_monitoring(stack: Stack, compose: Path, sink: str, rate_rps: float) -> None:
    """Restart Prometheus on backfilled healthy history and Alertmanager empty, delivering to `sink` (host:port).

    `rate_rps` is the rate that the run will have, so that its first window joins the history without a step.
    """
    source = compose / "alertmanager" / "alertmanager.yml"
    text = await asyncio.to_thread(source.read_text)
    config = render("alertmanager", ALERTMANAGER_CONFIG, text, stack.time_scale, sink=sink)
    targets = {
        job: "{}:{}".format(*stack.address(component, port)) for job, component, port in TARGETS
    }

    async def backfill(folders: Mapping[str, Path]) -> None:
        history = backfill_openmetrics(
            stack.time_scale, time.time(), rate_rps=rate_rps, targets=targets
        )
        await write_backfill(tool("promtool"), folders[PROMETHEUS_DATA], history)

    await asyncio.gather(
        stack.replace("alertmanager", files={ALERTMANAGER_CONFIG: config}, wipe=True),
        stack.replace("prometheus", wipe=True, before=backfill),
    )
