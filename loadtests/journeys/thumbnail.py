"""Load the thumbnail of one video: bytes that are an image, the placeholder included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

BEGINNINGS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
    "image/svg+xml": (b"<svg", b"<?xml"),
}


def _prepare(world: World, random: Random) -> Request:
    video = world.popular(random)
    return Request("GET", f"/api/v1/videos/{video}/thumbnail", video)


def _complain(_request: Request, answer: Answer) -> str:
    kind = answer.content_type.partition(";")[0].strip().lower()
    beginnings = BEGINNINGS.get(kind)
    if beginnings is None:
        return "no image type"
    return "" if answer.body.startswith(beginnings) else "bytes that are not the image they claim"


THUMBNAIL = Journey("thumbnail", "/api/v1/videos/{video_id}/thumbnail", _prepare, _complain)
