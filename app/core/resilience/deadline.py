"""One deadline for a whole request: whatever it calls may use only the time that is left."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Self

from app.core.errors import DeadlineExceededError

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType


class deadline:  # noqa: N801 - reads as a verb: `async with deadline(1.5):`
    """Async context manager that ends its body after `seconds` with `DeadlineExceededError`.

    A deadline inside another can only shorten it. The error is raised by the one whose time was over; a body that
    was cancelled from outside stays cancelled.

    Each request has one, so it is an `asyncio.timeout` made cheap: one timer, and an extension only moves the time
    that this timer compares with when it fires.
    """

    __slots__ = (
        *("_armed_for", "_cancelling", "_expired", "_handle", "_loop"),
        *("_seconds", "_task", "_token", "expires_at"),
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
        self._loop = asyncio.get_running_loop()
        self.expires_at = self._loop.time() + self._seconds
        outer = _current.get()
        if outer is not None and outer.expires_at < self.expires_at:
            self.expires_at = outer.expires_at
        self._expired = False
        self._arm()
        self._token: Token[deadline | None] = _current.set(self)

    def extend(self, seconds: float) -> None:
        """Let the body go on for `seconds` from now; without effect when its time is already over."""
        if self._expired:
            return
        self._seconds = seconds
        self.expires_at = self._loop.time() + seconds
        if self.expires_at < self._armed_for:
            self._handle.cancel()
            self._arm()

    def end(self, error: BaseException | None) -> None:
        """Stop it: what `async with` does at the end. `error` is what ended the body."""
        _current.reset(self._token)
        self._handle.cancel()
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
        return max(0.0, self.expires_at - asyncio.get_running_loop().time())

    def _arm(self) -> None:
        self._armed_for = self.expires_at
        self._handle = self._loop.call_at(self.expires_at, self._look)

    def _look(self) -> None:
        if self._loop.time() < self.expires_at:
            self._arm()
            return
        self._expired = True
        self._task.cancel()


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
