"""What a journey is: a request made from the world, and an oracle that reads the answer's body."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send. `subject` is what its answer must speak of (a video id), "" when nothing particular.

    `body` is sent as JSON; None sends none. `headers` stand beside those that every arrival carries.
    """

    method: str
    path: str
    subject: str = ""
    body: Mapping[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()


def _nothing(_world: World, _request: Request) -> None:
    """Learn nothing from a good answer, as most journeys do."""


@dataclass(frozen=True, slots=True)
class Journey:
    """One thing that a visitor does, as one request.

    `route` is the server's route template, with the method in front unless it is GET. `complain` returns what is
    wrong with the body of an answer whose status is in `statuses`, or "". Complaints name no ids: each is a row of
    a statistic. `learn` is told of each request that was answered well, for journeys that build on others.
    """

    name: str
    route: str
    prepare: Callable[[World, Random], Request]
    complain: Callable[[Request, Answer], str]
    statuses: tuple[int, ...] = field(default=(200,))
    learn: Callable[[World, Request], None] = _nothing


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that `body` holds, or None."""
    try:
        data = json.loads(body)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def complain_of_list(answer: Answer, at_most: int) -> str:
    """Return what is wrong with a list of videos: it must hold 1 to `at_most`, each with an id and a title."""
    data = json_object(answer.body)
    items = None if data is None else data.get("items")
    if not isinstance(items, list):
        return "no list of items"
    if not items:
        return "an empty list"
    if len(items) > at_most:
        return "more items than asked for"
    ids = [item.get("id") for item in items if isinstance(item, dict) and item.get("title")]
    if len(ids) != len(items) or not all(isinstance(i, str) and i for i in ids):
        return "an item without id or title"
    return "the same video twice" if len(set(ids)) != len(ids) else ""
