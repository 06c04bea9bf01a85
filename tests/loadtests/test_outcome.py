"""Claims about classes and oracles: what is a good answer, and what only looks like one."""

from __future__ import annotations

import json
from random import Random

import pytest

from loadtests.journeys import journey
from loadtests.journeys.journey import Request
from loadtests.outcome import Answer, judged
from loadtests.world import World

WORLD = World(("v1", "v2"))
ITEM = {"id": "v1", "title": "t"}
PNG = b"\x89PNG\r\n\x1a\nrest"


def complaint(name: str, body: object, content_type: str = "application/json") -> str:
    """Return what the journey says of a body, asked for video v1."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return journey(name).complain(
        Request("GET", "/", "v1", key="k1"), Answer(200, data, content_type)
    )


@pytest.mark.parametrize(
    ("answer", "complaint", "kind", "features"),
    [
        (Answer(200), "", "ok", ""),
        (Answer(200, degraded=" storage , cache"), "", "degraded", "cache,storage"),
        (Answer(200, degraded=" , "), "", "ok", ""),
        (Answer(200), "an empty list", "error", ""),
        (Answer(200, degraded="cache"), "an empty list", "error", "cache"),
        (Answer(503, degraded="cache"), "", "error", "cache"),
        (Answer(404), "", "error", ""),
        (Answer(429), "", "error", ""),
        (Answer(302), "", "error", ""),
    ],
)
def test_an_answer_is_of_one_class(
    answer: Answer, complaint: str, kind: str, features: str
) -> None:
    """Degraded is only what says so and is right; a wrong body or status is an error even when it says so."""
    outcome = judged(answer, (200,), complaint)

    assert (outcome.kind, outcome.degraded) == (kind, features)
    assert outcome.bad == bool(outcome.why) == (kind == "error")


@pytest.mark.parametrize(
    ("name", "body", "content_type"),
    [
        ("watch_page", {"id": "v1", "title": "t"}, "application/json"),
        ("browse", {"items": [ITEM], "next_cursor": None}, "application/json"),
        ("trending", {"items": [ITEM]}, "application/json"),
        ("view", {"view_id": "k1", "video_id": "v1"}, "application/json"),
        ("thumbnail", PNG, "image/png"),
        ("thumbnail", b"<svg xmlns=''/>", "image/svg+xml; charset=utf-8"),
    ],
)
def test_an_oracle_accepts_the_right_answer(name: str, body: object, content_type: str) -> None:
    """What the API answers when all is well has no complaint."""
    assert not complaint(name, body, content_type)


@pytest.mark.parametrize(
    ("name", "body", "content_type", "word"),
    [
        ("watch_page", b"<h1>oops</h1>", "text/html", "no JSON"),
        ("watch_page", {"id": "v2", "title": "t"}, "", "another video"),
        ("watch_page", {"id": "v1"}, "", "without title"),
        ("browse", {"items": []}, "", "empty"),
        ("browse", {"items": [{"id": f"v{i}", "title": "t"} for i in range(21)]}, "", "more items"),
        ("browse", {"detail": "x"}, "", "no list"),
        ("trending", {"items": [ITEM, ITEM]}, "", "twice"),
        ("trending", {"items": [{"id": "v1"}]}, "", "without id or title"),
        ("trending", ["v1"], "", "no list"),
        ("view", {"video_id": "v1"}, "", "without view id"),
        ("view", {"view_id": "k1", "video_id": "v2"}, "", "another video"),
        ("view", {"view_id": "k2", "video_id": "v1"}, "", "another view"),
        ("view", b"", "", "no receipt"),
        ("thumbnail", b"<html>", "image/png", "not the image"),
        ("thumbnail", b"", "image/png", "not the image"),
        ("thumbnail", PNG, "text/html", "no image type"),
    ],
)
def test_an_oracle_finds_what_is_wrong(
    name: str, body: object, content_type: str, word: str
) -> None:
    """A 200 with a wrong body does not pass for a good answer."""
    assert word in complaint(name, body, content_type)


def test_some_videos_are_hot() -> None:
    """Half of the draws fall on a quarter of the videos, so that caches have something to do."""
    world = World(tuple(str(i) for i in range(100)))
    draws = [int(world.popular(Random(seed))) for seed in range(2_000)]  # noqa: S311

    assert 0.45 < sum(d < 25 for d in draws) / len(draws) < 0.55
    assert max(draws) > 90
