"""Watch a part of a hot video: 206 with exactly the bytes that Content-Range says, and those that were asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.watch_upload import ROUTE

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World

PARTIAL = 206
FIRST_BYTES = 8 * 1024
"""Parts begin within these, since clips are small."""
PART_BYTES = 16 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def _prepare(world: World, random: Random) -> Request:
    start = random.randrange(FIRST_BYTES)
    asked = f"{start}-{start + PART_BYTES - 1}"
    path = f"/api/v1/videos/{world.hot(random)}/stream"
    return Request("GET", path, asked, headers=(("Range", f"bytes={asked}"),))


def _complain(request: Request, answer: Answer) -> str:
    told = _RANGE.fullmatch(answer.content_range)
    if told is None:
        return "no content range"
    start, end, size = map(int, told.groups())
    first, last = map(int, request.subject.split("-"))
    if (start, end) != (first, min(last, size - 1)):
        return "another range than asked for"
    return "" if len(answer.body) == end - start + 1 else "not as many bytes as it says"


WATCH_RANGE = Journey(
    "watch_range", ROUTE, _prepare, _complain, statuses=(PARTIAL,), needs=("studio",)
)
