"""Single flight: callers that ask for the same thing at the same time share one piece of work."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from app.core.resilience.deadline import clear_deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Hashable

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiters: int = 0


class SingleFlight(Generic[T]):
    """At most one run per key at a time.

    The work runs in a task of its own, in the context of the first caller but without its deadline: it may serve
    callers who have more time. A caller that is cancelled leaves the others untouched; when the last one leaves, the
    work is cancelled too, so that nothing runs for nobody. An error reaches every caller and is not kept.

    With `linger_s` a result serves later callers for so long; at most `max_lingering` results are kept, oldest out.
    """

    def __init__(
        self,
        *,
        linger_s: float = 0.0,
        max_lingering: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._linger_s = linger_s
        self._max_lingering = max_lingering
        self._clock = clock
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._lingering: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    async def do(self, key: Hashable, fn: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `fn`, of a run that is already on its way, or of one that lingers."""
        kept = self._lingering.get(key)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        flight = self._flights.get(key)
        if flight is None:
            flight = self._start(key, fn)
        flight.waiters += 1
        try:
            # A wait of several tasks on one: the shield keeps the cancellation of one caller from the work.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.task.done():
                self._forget_flight(key, flight)
                flight.task.cancel()

    def forget(self, key: Hashable) -> None:
        """Let the next caller start afresh: what lingers, or is on its way, may be out of date."""
        self._lingering.pop(key, None)
        self._flights.pop(key, None)

    def _start(self, key: Hashable, fn: Callable[[], Awaitable[T]]) -> _Flight[T]:
        context = copy_context()
        context.run(clear_deadline)
        task = asyncio.get_running_loop().create_task(_coroutine(fn), context=context)
        flight = _Flight(task)
        self._flights[key] = flight
        task.add_done_callback(lambda _: self._landed(key, flight))
        return flight

    def _landed(self, key: Hashable, flight: _Flight[T]) -> None:
        was_current = self._forget_flight(key, flight)
        if flight.task.cancelled() or flight.task.exception() is not None:
            return
        if was_current and self._linger_s > 0:
            self._lingering[key] = (self._clock() + self._linger_s, flight.task.result())
            self._lingering.move_to_end(key)
            while len(self._lingering) > self._max_lingering:
                self._lingering.popitem(last=False)

    def _forget_flight(self, key: Hashable, flight: _Flight[T]) -> bool:
        if self._flights.get(key) is not flight:
            return False
        del self._flights[key]
        return True


def _coroutine(fn: Callable[[], Awaitable[T]]) -> Coroutine[object, object, T]:
    async def run() -> T:
        return await fn()

    return run()
