"""Read an own upload back, whole, at any time after its receipt: the bytes must be those that were sent.

Before there is one: watch any hot video.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

ROUTE = "/api/v1/videos/{video_id}/stream"


def _prepare(world: World, random: Random) -> Request:
    studio = world.creators()
    upload = studio.kept(random)
    if upload is None:
        return Request("GET", f"/api/v1/videos/{world.hot(random)}/stream")
    token = (("Authorization", f"Bearer {studio.tokens.of(upload.owner)}"),)
    path = f"/api/v1/videos/{upload.video_id}/stream?rendition=source"
    return Request("GET", path, upload.video_id, headers=token, upload=upload)


def _complain(request: Request, answer: Answer) -> str:
    if not answer.body:
        return "no bytes"
    if request.upload is None:
        return ""
    same = hashlib.sha256(answer.body).hexdigest() == request.upload.checksum
    return "" if same else "other bytes than were sent"


WATCH_UPLOAD = Journey("watch_upload", ROUTE, _prepare, _complain, needs=("studio",))
