"""A bulkhead: at most so many calls at a time, at most so many waiting, nobody waiting for long."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class BulkheadFullError(Exception):
    """There was no room for the call, and none came free in time."""

    def __init__(self, name: str, max_concurrent: int) -> None:
        super().__init__(f"bulkhead {name} is full: {max_concurrent} calls are in flight")
        self.name = name


class Bulkhead:
    """Async context manager around one call. First come, first served.

    `asyncio.Semaphore` bounds neither the queue nor the wait, which is where an overload hides.
    """

    def __init__(
        self, name: str, max_concurrent: int, max_waiting: int = 0, *, max_wait_s: float = 0.1
    ) -> None:
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent={max_concurrent} must be at least 1")
        self.name = name
        self.max_concurrent = max_concurrent
        self.max_waiting = max_waiting
        self.max_wait_s = max_wait_s
        self._in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def in_flight(self) -> int:
        """How many calls hold a slot."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return len(self._queue)

    async def __aenter__(self) -> Self:
        if self._in_flight < self.max_concurrent:
            self._in_flight += 1
            return self
        if len(self._queue) >= self.max_waiting:
            raise BulkheadFullError(self.name, self.max_concurrent)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self.max_wait_s):
                await turn
        except BaseException as error:
            self._leave_queue(turn)
            if isinstance(error, TimeoutError):
                raise BulkheadFullError(self.name, self.max_concurrent) from error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def _release(self) -> None:
        """Hand the slot to who waits longest, or free it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._in_flight -= 1

    def _leave_queue(self, turn: asyncio.Future[None]) -> None:
        """Give up the wait; a slot that was handed over in the same moment goes on to the next."""
        if turn.done() and not turn.cancelled():
            self._release()
            return
        turn.cancel()
        if turn in self._queue:
            self._queue.remove(turn)
