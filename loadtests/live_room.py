"""The channel that a load watches: live from before the load on, and recorded once, so that there is a fallback."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from loadtests.studio import Tokens

CHANNEL = "load-room"
ASK_WITHIN_S = 5.0
RECORD_S = 3.0
RECORDED_WITHIN_S = 15.0
LOOK_EVERY_S = 0.25
SEGMENTS = 3
"""Viewers ask for the newest that the playlist named: older ones may be gone."""


@dataclass(slots=True)
class LiveRoom:
    """What the latest playlist named; files stand relative to it."""

    name: str = CHANNEL
    _files: deque[str] = field(default_factory=lambda: deque(maxlen=SEGMENTS))

    @property
    def playlist(self) -> str:
        """Return the path of the channel's playlist."""
        return f"/api/v1/live/{self.name}/index.m3u8"

    def saw(self, playlist: bytes) -> None:
        """Remember what a playlist names."""
        self._files.clear()
        self._files.extend(files_of(playlist))

    def file(self, random: Random) -> str:
        """Draw the path of a file that the latest playlist named; "" before there was one."""
        if not self._files:
            return ""
        return f"/api/v1/live/{self.name}/{random.choice(self._files)}"


def files_of(playlist: bytes) -> list[str]:
    """Return the addresses in an HLS playlist, in their order."""
    lines = [line.strip() for line in playlist.decode("utf-8", "replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def open_live_room(host: str, tokens: Tokens) -> LiveRoom:
    """Make the channel live, and see to it that a recording of it is there. Raises `HarnessError`."""
    room, owner = LiveRoom(), tokens.usernames[0]
    address = f"{host.rstrip('/')}/api/v1/live"
    token = tokens.of(owner)

    def ask(method: str, path: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(  # noqa: S310 (checked with the world)
            f"{address}/{path}", headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=ASK_WITHIN_S) as response:  # noqa: S310
                return dict(json.loads(response.read()))
        except (OSError, ValueError, TypeError) as error:
            raise HarnessError(
                f"{method} {address}/{path}: {error}; expected a channel, so is the live origin up?"
            ) from error

    ask("PUT", f"channels/{room.name}")
    if ask("GET", room.name).get("recording_id") is None:
        time.sleep(RECORD_S)
        ask("DELETE", f"channels/{room.name}")
        _wait_for_recording(lambda: ask("GET", room.name))
        ask("PUT", f"channels/{room.name}")
    return room


def _wait_for_recording(look: Callable[[], dict[str, Any]]) -> None:
    end = time.monotonic() + RECORDED_WITHIN_S
    while look().get("recording_id") is None:
        if time.monotonic() > end:
            raise HarnessError(
                f"no recording of {CHANNEL} within {RECORDED_WITHIN_S:g} s of its end; is the relay up?"
            )
        time.sleep(LOOK_EVERY_S)
