"""Ask how far an own upload is, each in its turn until it is ready. Before there is one: look at any video's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request, json_object

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

READY = "published"
STATUSES = ("processing", READY)
"""A good clip must never fail."""


def _prepare(world: World, random: Random) -> Request:
    studio = world.creators()
    upload = studio.waiting() or studio.kept(random)
    if upload is None:
        video = world.popular(random)
        return Request("GET", f"/api/v1/videos/{video}", video)
    token = (("Authorization", f"Bearer {studio.tokens.of(upload.owner)}"),)
    return Request(
        "GET", f"/api/v1/videos/{upload.video_id}", upload.video_id, headers=token, upload=upload
    )


def _complain(request: Request, answer: Answer) -> str:
    video = json_object(answer.body)
    if video is None:
        return "no JSON object"
    if video.get("id") != request.subject:
        return "another video than asked for"
    status = video.get("status")
    if status not in STATUSES:
        return (
            f"an upload that is {status if status == 'failed' else 'neither ready nor on its way'}"
        )
    ready = status == READY
    return "a ready video without renditions" if ready and not _renditions(request, video) else ""


def _renditions(request: Request, video: dict[str, object]) -> bool:
    return request.upload is None or bool(video.get("renditions"))


def _learn(world: World, request: Request, answer: Answer) -> None:
    video = json_object(answer.body)
    if request.upload is not None and video is not None and video["status"] == READY:
        world.creators().ready(request.upload)


UPLOAD_STATUS = Journey(
    "upload_status",
    "/api/v1/videos/{video_id}",
    _prepare,
    _complain,
    learn=_learn,
    needs=("studio",),
)
