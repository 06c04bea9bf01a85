"""Report a view of a moment ago again, with its own key, as a client does that got no answer: it counts once.

Before there is one: look at a video's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request, json_object
from loadtests.journeys.view import ROUTE, STATUSES, complain_of_view, promise_view

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World


def _prepare(world: World, random: Random) -> Request:
    if world.views:
        return random.choice(world.views)
    video = world.popular(random)
    return Request("GET", f"/api/v1/videos/{video}", video)


def _complain(request: Request, answer: Answer) -> str:
    if request.key:
        return complain_of_view(request, answer)
    video = json_object(answer.body) or {}
    return "" if video.get("id") == request.subject else "another video than asked for"


VIEW_AGAIN = Journey(
    "view_again", ROUTE, _prepare, _complain, statuses=STATUSES, promise=promise_view
)
