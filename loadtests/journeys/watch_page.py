"""Open a video's page: its metadata by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.base import API, Answer, Request, World

if TYPE_CHECKING:
    from random import Random


def watch_page(rng: Random, world: World) -> Request:
    """Ask for one video; the answer must be that video."""
    video = world.popular_video(rng)

    def wrong(answer: Answer) -> str:
        body = answer.json()
        return (
            ""
            if isinstance(body, dict) and body.get("id") == video
            else "another video or none came back"
        )

    return Request("GET", f"{API}/videos/{video}", f"{API}/videos/{{video_id}}", wrong)
