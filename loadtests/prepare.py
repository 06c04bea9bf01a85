"""What is done before a load, outside its ledger: learn the world, log creators in, bring hot videos and a channel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loadtests.errand import ask, wait_until
from loadtests.journeys.upload import send
from loadtests.live_room import open_live_room
from loadtests.studio import UNIQUE_BYTES, Studio, open_studio
from loadtests.world import World, fetch_world

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadtests.journeys.journey import Journey

HOT = 4
"""So few that each is read many times within the first seconds of a load."""


def prepared(host: str, journeys: Iterable[Journey]) -> World:
    """Return the world behind `host` with all that `journeys` need. Raises `HarnessError`."""
    world = fetch_world(host)
    needs = {need for journey in journeys for need in journey.needs}
    if "studio" in needs:
        studio = open_studio(host)
        world = replace(world, studio=studio, hot_ids=upload_hot(host, studio))
    if "live" in needs:
        world = replace(world, live_room=open_live_room(host))
    return world


def upload_hot(host: str, studio: Studio) -> tuple[str, ...]:
    """Upload the few videos that everybody watches, and return their ids when all can be watched.

    Keys and bytes are always the same, so the next load gets the videos of the first one. Raises `HarnessError`.
    """
    ids = []
    for n in range(HOT):
        unique = f"hot-{n}".encode().ljust(UNIQUE_BYTES, b".")
        request = send(studio, studio.upload(studio.tokens.usernames[0], f"hot-clip-{n}", unique))
        headers = {**dict(request.headers), "Idempotency-Key": request.key}
        receipt = ask(host, request.method, request.path, body=request.content, headers=headers)
        ids.append(str(receipt["video_id"]))
    token = {"Authorization": f"Bearer {studio.tokens.of(studio.tokens.usernames[0])}"}

    def all_ready() -> bool:
        videos = [ask(host, "GET", f"/api/v1/videos/{video}", headers=token) for video in ids]
        return all(video["status"] == "published" for video in videos)

    wait_until(all_ready, f"{HOT} uploads to be processed; are relay and worker up?")
    return tuple(ids)
