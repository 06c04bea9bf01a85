"""Load one of the files that the latest playlist named: of what is sent, or the recording.

Before there is a playlist: load it. A segment may be gone when the answer says that live is degraded: then a player
asks for the playlist again, and gets the recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.live_playlist import FEATURE, ask_for_playlist, complain_of_playlist

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

ROUTE = "/api/v1/live/{name}/segments/{file}"
OK, GONE = 200, 404
TS_SYNC, TS_PACKET = 0x47, 188


def _prepare(world: World, random: Random) -> Request:
    path = world.channel().file(random)
    return Request("GET", path, path.rpartition(".")[2]) if path else ask_for_playlist(world)


def _complain(request: Request, answer: Answer) -> str:
    if answer.status == GONE:
        return "" if FEATURE in answer.degraded else "a segment that was named is gone"
    if not request.subject:
        return complain_of_playlist(request, answer)
    body = answer.body
    if request.subject == "ts":
        whole = len(body) >= TS_PACKET and len(body) % TS_PACKET == 0
        return "" if whole and body[0] == TS_SYNC else "no transport stream"
    return "" if body[4:8] == b"ftyp" else "no MP4"


LIVE_SEGMENT = Journey(
    "live_segment", ROUTE, _prepare, _complain, statuses=(OK, GONE), needs=("live",)
)
