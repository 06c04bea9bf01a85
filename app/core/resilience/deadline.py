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

_expires_at: ContextVar[float] = ContextVar("deadline_expires_at", default=inf)
"""On the event loop's clock."""


class deadline:  # noqa: N801 - reads as a verb: `async with deadline(1.5):`
    """Async context manager that ends its body after `seconds` with `DeadlineExceededError`.

    A deadline inside another can only shorten it. The error is raised by the one whose time was over; a body that
    was cancelled from outside stays cancelled.
    """

    __slots__ = ("_seconds", "_timeout", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        when = min(asyncio.get_running_loop().time() + self._seconds, _expires_at.get())
        self._timeout = asyncio.timeout_at(when)
        await self._timeout.__aenter__()
        self._token: Token[float] = _expires_at.set(when)
        return self

    def extend(self, seconds: float) -> None:
        """Let the body go on for `seconds` from now; without effect when its time is already over."""
        if self._timeout.expired():
            return
        self._seconds = seconds
        when = asyncio.get_running_loop().time() + seconds
        self._timeout.reschedule(when)
        _expires_at.set(when)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _expires_at.reset(self._token)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as over:
            raise DeadlineExceededError(self._seconds) from over


def remaining_s() -> float:
    """Return how much of the deadline is left, not less than 0; infinity where there is none."""
    when = _expires_at.get()
    if when == inf:
        return inf
    return max(0.0, when - asyncio.get_running_loop().time())


def clear_deadline() -> None:
    """Forget the deadline in this context: for work that outlives the request which happened to start it."""
    _expires_at.set(inf)
