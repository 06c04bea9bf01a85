"""What users do: each journey turns a seed and the known world into one request and an oracle for its answer."""

from __future__ import annotations

from loadtests.journeys.base import Answer, Journey, Request, World
from loadtests.journeys.browse import browse
from loadtests.journeys.thumbnail import thumbnail
from loadtests.journeys.trending import trending
from loadtests.journeys.view import view
from loadtests.journeys.watch_page import watch_page

JOURNEYS: dict[str, Journey] = {
    "browse": browse,
    "thumbnail": thumbnail,
    "trending": trending,
    "view": view,
    "watch_page": watch_page,
}

__all__ = ["JOURNEYS", "Answer", "Journey", "Request", "World"]
