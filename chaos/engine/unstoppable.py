"""Work that cancellation must not cut in half."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def to_the_end(work: Coroutine[object, object, T]) -> T:
    """Run `work` to its end, however often the caller is cancelled meanwhile, and only then be cancelled.

    `work` must limit itself in time. Its own error is raised rather than the cancellation: it says what is left.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # `wait` neither cancels the task when the caller is cancelled nor raises its error.
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
