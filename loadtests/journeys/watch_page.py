"""Open the page of one video: the answer must be that video and no other, which a confused cache would fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request, json_object

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World


def _prepare(world: World, random: Random) -> Request:
    video = world.popular(random)
    return Request("GET", f"/api/v1/videos/{video}", video)


def _complain(request: Request, answer: Answer) -> str:
    video = json_object(answer.body)
    if video is None:
        return "no JSON object"
    if video.get("id") != request.subject:
        return "another video than asked for"
    return "" if video.get("title") else "a video without title"


WATCH_PAGE = Journey("watch_page", "/api/v1/videos/{video_id}", _prepare, _complain)
