"""Threads for blocking calls of one dependency: as many as its guard lets in, and some to spare.

A thread in a blocking call cannot be cancelled: it is held until its socket gives up. A call that its caller has given
up still counts as busy until its thread is really free.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from app.core.resilience.bulkhead import BulkheadFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.resilience.guard import Guard

T = TypeVar("T")


class Lane:
    """One kind of calls: their guard, and threads of their own, so that no other kind can use these up."""

    def __init__(self, name: str, guard: Guard, max_threads: int) -> None:
        self._name = name
        self._guard = guard
        self._max_threads = max_threads
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix=name)
        self.busy = 0

    async def call(
        self,
        work: Callable[[], T],
        *,
        probe_beside: bool = False,
        probe: Callable[[], object] | None = None,
        allowance_s: float = 0.0,
    ) -> T:
        """Run blocking `work` within the guard's limits; for the rest see `Guard.call`."""
        return await self._guard.call(
            partial(self._in_thread, work),
            probe_beside=probe_beside,
            probe=None if probe is None else partial(self._in_thread, probe),
            allowance_s=allowance_s,
        )

    def close(self) -> None:
        """Let go of the threads; one that is stuck ends with its socket's limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self.busy >= self._max_threads:
            raise BulkheadFullError(f"{self._name} threads", self._max_threads)
        loop = asyncio.get_running_loop()
        # The thread works for the request that asked, and says so in what it sends.
        future = self._threads.submit(copy_context().run, work)
        self.busy += 1
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._thread_freed))
        return await asyncio.wrap_future(future)

    def _thread_freed(self) -> None:
        self.busy -= 1
