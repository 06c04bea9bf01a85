"""Upload a clip of its own bytes: an acknowledged write. The receipt must name what was sent, to the last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.model.invariants import Acknowledged
from loadtests.journeys.journey import Journey, Request, json_object

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.studio import Studio, Upload
    from loadtests.world import World

ROUTE = "POST /api/v1/videos"
STATUSES = (200, 202)


def send(studio: Studio, upload: Upload) -> Request:
    """Return the request that uploads, for the first time or again."""
    return Request(
        "POST",
        "/api/v1/videos?title=A+clip+under+load",
        headers=(
            ("Authorization", f"Bearer {studio.tokens.of(upload.owner)}"),
            ("Content-Type", "video/mp4"),
            ("Content-Digest", upload.digest),
        ),
        key=upload.key,
        content=studio.content(upload),
        upload=upload,
    )


def complain_of_receipt(request: Request, answer: Answer) -> str:
    """Return what is wrong with a receipt: it must be for these bytes, and name the video that they become."""
    receipt = json_object(answer.body)
    if receipt is None or request.upload is None:
        return "no receipt"
    if receipt.get("checksum_sha256") != request.upload.checksum:
        return "a receipt for other bytes"
    if receipt.get("size_bytes") != len(request.content):
        return "a receipt for another size"
    video = receipt.get("video_id")
    if not isinstance(video, str) or not video:
        return "a receipt without video id"
    return "" if request.upload.video_id in {"", video} else "another video than at first"


def learn_upload(world: World, request: Request, answer: Answer) -> None:
    """Remember an acknowledged upload, for those who ask how far it is and look at it."""
    receipt = json_object(answer.body)
    if receipt is not None and request.upload is not None:
        world.creators().keep(request.upload, str(receipt["video_id"]))


def promise_upload(request: Request, answer: Answer, t_s: float) -> Acknowledged | None:
    """Return the promise to keep these bytes and to process them."""
    receipt = json_object(answer.body)
    if receipt is None or request.upload is None:
        return None
    video, checksum = str(receipt["video_id"]), request.upload.checksum
    return Acknowledged(t_s, "upload", video, checksum=checksum, idempotency_key=request.key)


def _prepare(world: World, random: Random) -> Request:
    studio = world.creators()
    return send(studio, studio.begin(world.key(random), random))


UPLOAD = Journey(
    "upload",
    ROUTE,
    _prepare,
    complain_of_receipt,
    statuses=STATUSES,
    learn=learn_upload,
    promise=promise_upload,
    needs=("studio",),
)
