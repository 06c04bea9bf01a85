"""What journeys need to know of the system: its video ids, fetched once, outside the ledger, and its accounts."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError, UsageError
from loadtests.accounts import Accounts

if TYPE_CHECKING:
    from random import Random

PAGE = 20
MAX_PAGES = 10
ASK_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class World:
    """The ids of public videos, newest first, and who can log in."""

    video_ids: tuple[str, ...]
    accounts: Accounts = field(default_factory=Accounts, compare=False)

    def popular(self, random: Random) -> str:
        """Draw a video: half of all draws fall on a quarter of them, as some are hot everywhere."""
        return self.video_ids[int(len(self.video_ids) * random.random() ** 2)]


def fetch_world(host: str) -> World:
    """Read up to 200 video ids from `host` (a URL). Raises `HarnessError` when it does not give any."""
    if urllib.parse.urlsplit(host).scheme not in {"http", "https"}:
        raise UsageError(f"--host {host!r}; expected a URL as http://127.0.0.1:8000")
    ids: list[str] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        query = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
        page = _get(f"{host.rstrip('/')}/api/v1/videos?{urllib.parse.urlencode(query)}")
        ids += [str(item["id"]) for item in page.get("items", ())]
        cursor = page.get("next_cursor")
        if not cursor:
            break
    if not ids:
        raise HarnessError(f"{host} has no public video; seed it (`python -m app.seed`)")
    return World(tuple(dict.fromkeys(ids)))


def _get(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 (checked)
    try:
        with urllib.request.urlopen(request, timeout=ASK_WITHIN_S) as response:  # noqa: S310 (checked)
            return dict(json.loads(response.read()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HarnessError(
            f"GET {url}: {error}; expected a page of videos, so is the system up and healthy?"
        ) from error
