"""What a journey is: a request made from the world, and an oracle that reads the answer's body."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from chaos.model.invariants import Acknowledged
    from loadtests.outcome import Answer
    from loadtests.studio import Upload
    from loadtests.world import World


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send. `subject` is what its answer must speak of (a video id), "" when nothing particular.

    `body` is sent as JSON, `content` as it is; without either nothing is sent. `key` is the Idempotency-Key of a write.
    `headers` stand beside those that every arrival carries. `upload` is the upload that the request is about.
    """

    method: str
    path: str
    subject: str = ""
    body: Mapping[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    key: str = ""
    content: bytes = field(default=b"", repr=False)
    upload: Upload | None = None


def _nothing(_world: World, _request: Request, _answer: Answer) -> None:
    """Learn nothing from a good answer, as most journeys do."""


def _no_promise(_request: Request, _answer: Answer, _t_s: float) -> None:
    """Be promised nothing by a good answer, as whoever only reads."""


@dataclass(frozen=True, slots=True)
class Journey:
    """One thing that a visitor does, as one request.

    `route` is the server's route template, with the method in front unless it is GET. `complain` returns what is
    wrong with the body of an answer whose status is in `statuses`, or "". Complaints name no ids: each is a row of
    a statistic. `learn` is told of each request that was answered well, for journeys that build on others. `promise`
    returns the write that a good answer acknowledges, or None. It may need
    what is prepared before the load: creators with their clips ("studio"), or a channel ("live").
    """

    name: str
    route: str
    prepare: Callable[[World, Random], Request]
    complain: Callable[[Request, Answer], str]
    statuses: tuple[int, ...] = field(default=(200,))
    learn: Callable[[World, Request, Answer], None] = _nothing
    promise: Callable[[Request, Answer, float], Acknowledged | None] = _no_promise
    needs: tuple[str, ...] = ()


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
