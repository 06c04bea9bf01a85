"""Send an earlier upload again, with its own key and bytes, as a client does that got no answer, or lost it.

Whatever became of the first try, there must be one video, and the receipt is that of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.upload import (
    ROUTE,
    STATUSES,
    complain_of_receipt,
    learn_upload,
    promise_upload,
    send,
)

if TYPE_CHECKING:
    from random import Random

    from loadtests.world import World


def _prepare(world: World, random: Random) -> Request:
    studio = world.creators()
    earlier = studio.earlier(random)
    return send(studio, studio.begin(world.key(random), random) if earlier is None else earlier)


UPLOAD_AGAIN = Journey(
    "upload_again",
    ROUTE,
    _prepare,
    complain_of_receipt,
    statuses=STATUSES,
    learn=learn_upload,
    promise=promise_upload,
    needs=("studio",),
)
