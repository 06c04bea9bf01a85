"""Load the playlist of a channel: of what is sent now or, when it says that it is degraded, of the last recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request
from loadtests.live_room import files_of

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

ROUTE = "/api/v1/live/{name}/index.m3u8"
BEGINNING = b"#EXTM3U"
ENDED = b"#EXT-X-ENDLIST"
FEATURE = "live"


def ask_for_playlist(world: World) -> Request:
    """Return the request for the channel's playlist."""
    return Request("GET", world.channel().playlist)


def complain_of_playlist(_request: Request, answer: Answer) -> str:
    """Return what is wrong with a playlist: it must name files, and be live unless it says otherwise."""
    if not answer.body.startswith(BEGINNING):
        return "no playlist"
    if not files_of(answer.body):
        return "a playlist without files"
    recorded = ENDED in answer.body
    return "a recording that is called live" if recorded and FEATURE not in answer.degraded else ""


def learn_playlist(world: World, _request: Request, answer: Answer) -> None:
    """Remember which files there are to watch."""
    world.channel().saw(answer.body)


def _prepare(world: World, _random: Random) -> Request:
    return ask_for_playlist(world)


LIVE_PLAYLIST = Journey(
    "live_playlist", ROUTE, _prepare, complain_of_playlist, learn=learn_playlist, needs=("live",)
)
