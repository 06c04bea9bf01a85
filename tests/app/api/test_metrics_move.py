"""Every declared family of metrics is really set: a dashboard of one that never moves would look healthy forever."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from app.core.metrics import Metrics
from app.seed.world import build_world
from tests.app.api.asgi import call
from tests.app.people import enrolled, newcomer
from tests.app.system import serving
from tests.app.uploading import clip, new_key, upload

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from tests.app.system import System

VIDEOS = "/api/v1/videos"
VIDEO = f"{VIDEOS}/{build_world().videos[0].id}"
CHANNEL = f"/api/v1/live/{build_world().channels[-1].name}/index.m3u8"
MOVED_WITHIN_S = 30.0
MAX_IN_FLIGHT = 20
# The interpreter, the operating system and, the last one, the relay move these.
NOT_OURS = ("process_", "python_", "task_enqueue")

Samples = dict[tuple[str, ...], float]


def _samples(registry: CollectorRegistry) -> dict[str, Samples]:
    """Return the values by family and, in it, by series."""
    return {
        family.name: {(s.name, *s.labels.values()): s.value for s in family.samples}
        for family in registry.collect()
        if not family.name.startswith(NOT_OURS)
    }


async def test_every_family_moves(system: System, tmp_path: Path) -> None:
    """A small script of requests, a burst, and outages of store and Redis change at least one series of each family."""
    unmoved = _samples(Metrics(CollectorRegistry()).registry)
    settings = system.settings(max_in_flight=MAX_IN_FLIGHT, local_store_dir=tmp_path / "local")
    async with serving(settings) as app:
        script = asyncio.create_task(_use(app, system))
        try:
            async with asyncio.timeout(MOVED_WITHIN_S):
                while unmoved:
                    now = _samples(app.state.metrics.registry)
                    unmoved = {k: v for k, v in unmoved.items() if now[k] == v}
                    if script.done():
                        script.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never moved: {sorted(unmoved)}") from None
        finally:
            script.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await script


async def _use(app: FastAPI, system: System) -> None:
    person = await newcomer(app)
    await person.refresh(person.refresh_token)
    await person.arrive()
    await enrolled(person)
    for path in (VIDEO, VIDEO, f"{VIDEO}/thumbnail", CHANNEL):
        assert (await call(app, "GET", path)).status == 200
    assert (await call(app, "POST", f"{VIDEO}/views")).status == 202
    burst = [call(app, "GET", f"{VIDEOS}?limit={1 + n}") for n in range(4 * MAX_IN_FLIGHT)]
    answers = await asyncio.gather(*burst)
    assert 503 in {answer.status for answer in answers}
    system.object_store.stop()
    try:
        assert (await upload(app, system, clip(), new_key())).headers["x-degraded"] == "storage"
    finally:
        system.object_store.resume()
    system.valkey.stop()
    try:
        while True:
            await asyncio.gather(*(call(app, "GET", VIDEO) for _ in range(MAX_IN_FLIGHT // 2)))
            await asyncio.sleep(0.01)
    finally:
        system.valkey.resume()
