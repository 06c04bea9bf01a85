"""Look at the videos of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request, complain_of_list

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

AT_MOST = 100


def _prepare(_world: World, _random: Random) -> Request:
    return Request("GET", "/api/v1/videos/trending")


def _complain(_request: Request, answer: Answer) -> str:
    return complain_of_list(answer, AT_MOST)


TRENDING = Journey("trending", "/api/v1/videos/trending", _prepare, _complain)
