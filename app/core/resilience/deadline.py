"""One deadline for a whole request: whatever it calls may use only the time that is left."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Self

from app.core.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

TICK_S = 0.02


class deadline:  # noqa: N801 - reads as a verb: `async with deadline(1.5):`
    """Async context manager that ends its body after `seconds` with `DeadlineExceededError`.

    A deadline inside another can only shorten it. The error is raised by the one whose time was over; a body that
    was cancelled from outside stays cancelled.

    Each request has one, so it is an `asyncio.timeout` made cheap: no timer of its own, which costs a tenth of a
    request, but one look at all of them every `TICK_S`. A body ends at its deadline or up to a tick later.
    """

    __slots__ = (
        *("_cancelling", "_expired", "_seconds", "_task", "_token", "_watch"),
        "expires_at",
    )

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def begin(self) -> None:
        """Start it: what `async with` does at the beginning."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task that it can end")
        self._task = task
        self._cancelling = task.cancelling()
        watch = self._watch = _watch_of(asyncio.get_running_loop())
        self.expires_at = watch.time() + self._seconds
        outer = _current.get()
        if outer is not None and outer.expires_at < self.expires_at:
            self.expires_at = outer.expires_at
        self._expired = False
        watch.add(self)
        self._token: Token[deadline | None] = _current.set(self)

    def extend(self, seconds: float) -> None:
        """Let the body go on for `seconds` from now; without effect when its time is already over."""
        if self._expired:
            return
        self._seconds = seconds
        self.expires_at = self._watch.time() + seconds

    def end(self, error: BaseException | None) -> None:
        """Stop it: what `async with` does at the end. `error` is what ended the body."""
        _current.reset(self._token)
        self._watch.remove(self)
        if (
            self._expired
            and self._task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise DeadlineExceededError(self._seconds) from error

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(error)

    def left_s(self) -> float:
        """Return how much is left, not less than 0."""
        return max(0.0, self.expires_at - self._watch.time())

    def expire(self) -> None:
        """End the body: its time is over."""
        self._expired = True
        self._task.cancel()


class _Watch:
    """Looks at the deadlines of one event loop while there are any."""

    __slots__ = ("_active", "_looking", "loop", "remove", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._active: set[deadline] = set()
        self._looking = False
        self.remove: Callable[[deadline], None] = self._active.discard
        self.time: Callable[[], float] = loop.time

    def add(self, limit: deadline) -> None:
        self._active.add(limit)
        if not self._looking:
            self._looking = True
            self.loop.call_later(TICK_S, self._look)

    def _look(self) -> None:
        now = self.time()
        for limit in [limit for limit in self._active if limit.expires_at <= now]:
            self._active.discard(limit)
            limit.expire()
        self._looking = bool(self._active)
        if self._looking:
            self.loop.call_later(TICK_S, self._look)


_watch: _Watch | None = None
"""That of the loop that asked last: a process has one, and tests have one after the other."""


def _watch_of(loop: asyncio.AbstractEventLoop) -> _Watch:
    global _watch  # noqa: PLW0603 - looking it up by loop costs a microsecond a request
    if _watch is None or _watch.loop is not loop:
        _watch = _Watch(loop)
    return _watch


_current: ContextVar[deadline | None] = ContextVar("deadline", default=None)


def remaining_s() -> float:
    """Return how much of the deadline is left, not less than 0; infinity where there is none."""
    limit = _current.get()
    return inf if limit is None else limit.left_s()


def extend_deadline(seconds: float) -> None:
    """Let the deadline in force end `seconds` from now, if it would end sooner; nothing where there is none."""
    limit = _current.get()
    if limit is not None and limit.left_s() < seconds:
        limit.extend(seconds)


def clear_deadline() -> None:
    """Forget the deadline in this context: for work that outlives the request which happened to start it."""
    _current.set(None)
