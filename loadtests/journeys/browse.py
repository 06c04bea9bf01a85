"""Look at the newest videos. Only the first page: it is what is cached, so what a cache fault touches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request, complain_of_list

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

LIMIT = 20


def _prepare(_world: World, _random: Random) -> Request:
    return Request("GET", f"/api/v1/videos?limit={LIMIT}")


def _complain(_request: Request, answer: Answer) -> str:
    return complain_of_list(answer, LIMIT)


BROWSE = Journey("browse", "/api/v1/videos", _prepare, _complain)
