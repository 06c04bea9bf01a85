"""Load a video's thumbnail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.base import API, Answer, Request, World

if TYPE_CHECKING:
    from random import Random


def thumbnail(rng: Random, world: World) -> Request:
    """Ask for an image; an image must come, a placeholder at worst."""
    video = world.popular_video(rng)
    return Request(
        "GET",
        f"{API}/videos/{video}/thumbnail",
        f"{API}/videos/{{video_id}}/thumbnail",
        _wrong,
    )


def _wrong(answer: Answer) -> str:
    if not answer.headers.get("content-type", "").startswith("image/"):
        return "no image came back"
    return "" if answer.body else "the image is empty"
