"""What journeys need to know of the system: its video ids, fetched once, outside the ledger, and its accounts."""

from __future__ import annotations

import urllib.parse
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4, uuid5

from chaos.errors import HarnessError, UsageError
from loadtests.accounts import Accounts
from loadtests.errand import ask

if TYPE_CHECKING:
    from random import Random

    from loadtests.journeys.journey import Request
    from loadtests.live_room import LiveRoom
    from loadtests.studio import Studio

PAGE = 20
MAX_PAGES = 10
REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class World:
    """The ids of public videos, newest first, who can log in, and, where the load needs them, creators and a channel.

    `load_id` tells this load from all others, so that its idempotency keys are new. `views` are the latest that were
    reported, whether they were acknowledged or not, `hot_ids` the few videos that everybody watches right now.
    """

    video_ids: tuple[str, ...]
    accounts: Accounts = field(default_factory=Accounts, compare=False)
    studio: Studio | None = field(default=None, compare=False)
    hot_ids: tuple[str, ...] = field(default=(), compare=False)
    live_room: LiveRoom | None = field(default=None, compare=False)
    load_id: UUID = field(default_factory=uuid4, compare=False)
    views: deque[Request] = field(default_factory=lambda: deque(maxlen=REMEMBERED), compare=False)

    def popular(self, random: Random) -> str:
        """Draw a video: half of all draws fall on a quarter of them, as some are hot everywhere."""
        return self.video_ids[int(len(self.video_ids) * random.random() ** 2)]

    def hot(self, random: Random) -> str:
        """Draw one of the few videos that everybody watches. Raises `HarnessError` in a load that has none."""
        if not self.hot_ids:
            raise HarnessError(
                "this load has no hot videos; expected some, as its journeys watch them"
            )
        return random.choice(self.hot_ids)

    def key(self, random: Random) -> str:
        """Return an idempotency key, a UUID: the same for the same draw of this load, and none of any other load."""
        return str(uuid5(self.load_id, f"{random.getrandbits(128):032x}"))

    def creators(self) -> Studio:
        """Return the studio. Raises `HarnessError` in a load that opened none."""
        if self.studio is None:
            raise HarnessError("this load has no studio; expected one, as its journeys upload")
        return self.studio

    def channel(self) -> LiveRoom:
        """Return the channel to watch. Raises `HarnessError` in a load that has none."""
        if self.live_room is None:
            raise HarnessError("this load has no channel; expected one, as its journeys watch it")
        return self.live_room


def fetch_world(host: str) -> World:
    """Read up to 200 video ids from `host` (a URL). Raises `HarnessError` when it does not give any."""
    if urllib.parse.urlsplit(host).scheme not in {"http", "https"}:
        raise UsageError(f"--host {host!r}; expected a URL as http://127.0.0.1:8000")
    ids: list[str] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        query = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
        page = ask(host, "GET", f"/api/v1/videos?{urllib.parse.urlencode(query)}")
        ids += [str(item["id"]) for item in page.get("items", ())]
        cursor = page.get("next_cursor")
        if not cursor:
            break
    if not ids:
        raise HarnessError(f"{host} has no public video; seed it (`python -m app.seed`)")
    return World(tuple(dict.fromkeys(ids)))
