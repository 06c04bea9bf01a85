"""The values that journeys are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

API = "/api/v1"


@dataclass(frozen=True, slots=True)
class World:
    """What users know before they come: the ids of published videos, the most popular first, and page cursors."""

    videos: tuple[str, ...]
    cursors: tuple[str, ...] = ()

    def popular_video(self, rng: Random) -> str:
        """Return a video id by a long-tailed taste: the first ones are asked for most."""
        return self.videos[min(int(rng.paretovariate(0.9)) - 1, len(self.videos) - 1)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, header names in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 (whatever the server sent)
        """Return the body as JSON; None when it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Request:
    """One request and its oracle: `wrong` says in words what is wrong with a successful answer, "" for nothing."""

    method: str
    path: str
    route: str
    wrong: Callable[[Answer], str]


Journey = Callable[[Random, World], Request]
