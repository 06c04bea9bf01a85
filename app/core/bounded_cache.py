"""Bytes that are kept in memory for a moment, never more of them than a bound."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
# What a key and the bookkeeping cost beside the bytes, so that many small values are bounded too.
OVERHEAD_BYTES = 512


class BoundedCache(Generic[K]):
    """Values by key, each for `ttl_s`, together at most `max_bytes`; who was not asked for longest goes first."""

    def __init__(
        self, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._values: OrderedDict[K, tuple[float, bytes]] = OrderedDict()
        self.held_bytes = 0

    def get(self, key: K) -> bytes | None:
        """Return what is kept under `key` and is not too old."""
        kept = self._values.get(key)
        if kept is None:
            return None
        if self._clock() >= kept[0]:
            self._remove(key)
            return None
        self._values.move_to_end(key)
        return kept[1]

    def put(self, key: K, value: bytes) -> None:
        """Keep a value; one that is larger than the bound is not kept."""
        self._remove(key)
        size = _size(value)
        if size > self._max_bytes:
            return
        while self.held_bytes + size > self._max_bytes:
            self._remove(next(iter(self._values)))
        self._values[key] = (self._clock() + self._ttl_s, value)
        self.held_bytes += size

    def _remove(self, key: K) -> None:
        kept = self._values.pop(key, None)
        if kept is not None:
            self.held_bytes -= _size(kept[1])


def _size(value: bytes) -> int:
    return len(value) + OVERHEAD_BYTES
