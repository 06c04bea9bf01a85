"""Learn what there is before the load: ids of videos and page cursors, over the public API."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from loadtests.journeys import World

TRY_FOR_S = 10.0
CALL_WITHIN_S = 2.0
PAGES = 6


class NoWorldError(Exception):
    """The API did not tell what there is."""


def discover(host: str) -> World:
    """Walk the first pages of the catalogue. Raises `NoWorldError` when there is nothing to load."""
    videos: list[str] = []
    cursors: list[str] = []
    path = "/api/v1/videos?limit=20"
    for _ in range(PAGES):
        page = _get(host + path)
        videos += [str(item["id"]) for item in page["items"]]
        cursor = page.get("next_cursor")
        if not cursor:
            break
        cursors.append(str(cursor))
        path = f"/api/v1/videos?limit=20&cursor={urllib.request.quote(cursor)}"
    if not videos:
        raise NoWorldError(
            f"{host} has no videos; expected a seeded database, run `python -m app.seed`"
        )
    return World(tuple(videos), tuple(cursors))


def _get(url: str) -> Any:  # noqa: ANN401 (JSON)
    until = time.monotonic() + TRY_FOR_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=CALL_WITHIN_S) as response:  # noqa: S310 (the host under test)
                return json.loads(response.read())
        except (urllib.error.URLError, OSError, ValueError) as error:
            if time.monotonic() > until:
                raise NoWorldError(f"{url} did not answer: {error}") from error
            time.sleep(0.1)
