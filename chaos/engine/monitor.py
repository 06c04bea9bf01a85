"""Prometheus and Alertmanager for one run: a fresh healthy past, our webhook, and the facts at the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from chaos.runtime.monitoring import (
    ALERTMANAGER_CONFIG,
    SINK_MARKER,
    backfill_openmetrics,
    render,
    write_backfill,
)
from chaos.setup.locate import tool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.runtime.base import Stack

NOWHERE = "http://127.0.0.1:9/"
"""Where a stack without a run delivers to: the discard port, which nobody serves."""


async def reset_monitoring(stack: Stack, compose: Path, sink_url: str) -> None:
    """Restart Prometheus on backfilled healthy history and Alertmanager empty, delivering to `sink_url`."""
    source = compose / "alertmanager" / "alertmanager.yml"
    text = (await asyncio.to_thread(source.read_text)).replace(SINK_MARKER, sink_url)
    config = render("alertmanager", ALERTMANAGER_CONFIG, text, stack.time_scale)

    async def backfill(folders: Mapping[str, Path]) -> None:
        history = backfill_openmetrics(stack.time_scale, time.time())
        await write_backfill(tool("promtool"), folders["/prometheus"], history)

    await asyncio.gather(
        stack.replace("alertmanager", files={ALERTMANAGER_CONFIG: config}, wipe=True),
        stack.replace("prometheus", wipe=True, before=backfill),
    )
