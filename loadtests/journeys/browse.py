"""Browse the catalogue, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from loadtests.journeys.base import API, Answer, Request, World

if TYPE_CHECKING:
    from random import Random

FIRST_PAGE_SHARE = 0.7


def browse(rng: Random, world: World) -> Request:
    """Ask for a page of videos, mostly the first; it must hold videos."""
    path = f"{API}/videos?limit=20"
    if world.cursors and rng.random() > FIRST_PAGE_SHARE:
        path += f"&cursor={quote(rng.choice(world.cursors))}"
    return Request("GET", path, f"{API}/videos", listing_is_wrong)


def listing_is_wrong(answer: Answer) -> str:
    """Say what is wrong with a list of videos."""
    body = answer.json()
    items = body.get("items") if isinstance(body, dict) else None
    return (
        ""
        if items and all(isinstance(i, dict) and i.get("id") for i in items)
        else "no list of videos came back"
    )
