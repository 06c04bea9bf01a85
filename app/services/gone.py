"""Videos that were deleted a moment ago: copies of them may still be in a cache, or on their way into it.

A cache that is away cannot be cleared, and a load that began before the deletion may store its result after it. Both
are over when the copies' time is, so for so long each deletion is remembered here.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

# Twice the longest time to live of a copy, and more deletions than a second of them will bring.
REMEMBERED_S = 60.0
MAX_REMEMBERED = 256


class Gone:
    """The deletions of the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def add(self, video_id: UUID) -> None:
        """Remember a deletion; the oldest is forgotten when there are too many."""
        self._until[str(video_id).encode()] = self._clock() + REMEMBERED_S
        if len(self._until) > MAX_REMEMBERED:
            self._until.popitem(last=False)

    def __contains__(self, video_id: UUID) -> bool:
        """Tell whether it was deleted a moment ago."""
        self._forget()
        return str(video_id).encode() in self._until

    def named_in(self, copy: bytes) -> bool:
        """Tell whether a copy shows a video that was deleted a moment ago."""
        self._forget()
        return any(video_id in copy for video_id in self._until)

    def _forget(self) -> None:
        now = self._clock()
        while self._until and next(iter(self._until.values())) < now:
            self._until.popitem(last=False)
