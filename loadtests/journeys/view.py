"""Report a view: an acknowledged write. The receipt must name the video, else nothing was promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request, json_object

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World


def _prepare(world: World, random: Random) -> Request:
    video = world.popular(random)
    return Request("POST", f"/api/v1/videos/{video}/views", video)


def _complain(request: Request, answer: Answer) -> str:
    receipt = json_object(answer.body)
    if receipt is None:
        return "no receipt"
    if receipt.get("video_id") != request.subject:
        return "a receipt for another video"
    return "" if receipt.get("view_id") else "a receipt without view id"


VIEW = Journey(
    "view", "POST /api/v1/videos/{video_id}/views", _prepare, _complain, statuses=(200, 201, 202)
)
