"""Count a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.base import API, Answer, Request, World

if TYPE_CHECKING:
    from random import Random


def view(rng: Random, world: World) -> Request:
    """Report that a video was watched; the answer must acknowledge that very video."""
    video = world.popular_video(rng)

    def wrong(answer: Answer) -> str:
        body = answer.json()
        return (
            ""
            if isinstance(body, dict) and body.get("video_id") == video
            else "the view was not acknowledged"
        )

    return Request(
        "POST",
        f"{API}/videos/{video}/views",
        f"POST {API}/videos/{{video_id}}/views",
        wrong,
    )
