"""The channel that a load watches: live from before the load on, and recorded before, so that there is a fallback."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.errors import HarnessError
from loadtests.errand import ask, fetch, wait_until

if TYPE_CHECKING:
    from random import Random

SEGMENTS = 3
"""Viewers ask for the newest that the playlist named: older ones may be gone."""


@dataclass(slots=True)
class LiveRoom:
    """What the latest playlist named; files stand relative to it."""

    name: str
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


def open_live_room(host: str) -> LiveRoom:
    """Choose a channel that is live and was recorded, and wait until it is on the air.

    Where live streaming is switched off it never will be: then viewers get its recording. Raises `HarnessError`.
    """
    channels = ask(host, "GET", "/api/v1/live/channels")["items"]
    there = [c["name"] for c in channels if c["state"] == "live" and c["recording_id"] is not None]
    if not there:
        raise HarnessError(
            f"{host} has no live channel with a recording; seed it (`python -m app.seed`)"
        )
    room = LiveRoom(str(there[0]))
    if ask(host, "GET", "/api/v1/health/detailed")["features"]["live"] == "disabled":
        return room

    def on_the_air() -> bool:
        # The first who asks for its playlist brings a channel on the air that is meant to be live.
        fetch(host, "GET", room.playlist)
        return bool(ask(host, "GET", f"/api/v1/live/{room.name}")["mode"] == "live")

    wait_until(on_the_air, f"the channel {room.name} on the air; is the live origin up?")
    return room
