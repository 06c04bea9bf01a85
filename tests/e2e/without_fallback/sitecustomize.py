"""Python runs this at its start when its folder is on PYTHONPATH: the backend without the cache's fallback.

What a careless change would do: a cache that cannot be asked fails the request instead of asking the database.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app.infrastructure.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def _get_or_fail(
    self: Cache, key: str, ttl_s: float, loader: Callable[[], Awaitable[bytes]]
) -> bytes:
    value = await self._guard.call(partial(self._get, key))
    if value is not None:
        return value
    return await self._loads.do(key, partial(self._load_and_store, key, ttl_s, loader))


Cache.get_or_load = _get_or_fail  # type: ignore[method-assign]
