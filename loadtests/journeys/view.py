"""Report a view: an acknowledged write. The receipt must name the video and the view's own key, or promises nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.model.invariants import Acknowledged
from loadtests.journeys.journey import Journey, Request, json_object

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

ROUTE = "POST /api/v1/videos/{video_id}/views"
STATUSES = (200, 201, 202)


def complain_of_view(request: Request, answer: Answer) -> str:
    """Return what is wrong with the receipt of a view."""
    receipt = json_object(answer.body)
    if receipt is None:
        return "no receipt"
    if receipt.get("video_id") != request.subject:
        return "a receipt for another video"
    view = receipt.get("view_id")
    if not view:
        return "a receipt without view id"
    return "" if view == request.key else "a receipt for another view"


def promise_view(request: Request, _answer: Answer, t_s: float) -> Acknowledged | None:
    """Return the promise to keep a view and to count it once; None for a request that was no view."""
    if not request.key:
        return None
    return Acknowledged(
        t_s, "view", request.key, subject=request.subject, idempotency_key=request.key
    )


def _prepare(world: World, random: Random) -> Request:
    video = world.popular(random)
    request = Request("POST", f"/api/v1/videos/{video}/views", video, key=world.key(random))
    world.views.append(request)
    return request


VIEW = Journey("view", ROUTE, _prepare, complain_of_view, statuses=STATUSES, promise=promise_view)
