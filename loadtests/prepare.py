"""What is done before a load, outside its ledger: learn the world, log creators in, open a channel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loadtests.live_room import open_live_room
from loadtests.studio import open_studio
from loadtests.world import World, fetch_world

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadtests.journeys.journey import Journey


def prepared(host: str, journeys: Iterable[Journey]) -> World:
    """Return the world behind `host` with all that `journeys` need. Raises `HarnessError`."""
    world = fetch_world(host)
    needs = {need for journey in journeys for need in journey.needs}
    if not needs:
        return world
    studio = open_studio(host)
    room = open_live_room(host, studio.tokens) if "live" in needs else None
    return replace(world, studio=studio, live_room=room)
