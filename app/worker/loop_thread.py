"""An event loop in a thread of its own, which lives as long as the process: Celery is not asynchronous, our work is.

Pools of connections, breakers and timers belong to one loop; and one that always runs notices a cut while nothing is
done, so that the next task does not.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

END_WITHIN_S = 5.0


class StoppedError(Exception):
    """The work was cancelled, since the process is to end."""


class LoopThread:
    """Runs coroutines, one at a time, for a thread that waits for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="work", daemon=True)
        self._task: asyncio.Task[Any] | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_WITHIN_S)
        if not self._thread.is_alive():
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it; return its result or raise its error, StoppedError when it was cancelled (`cancel_after`)."""

        async def known() -> T:
            # The task is cancelled, and not the future that we wait for: that one would not wait for the task's end.
            self._task = asyncio.current_task()
            if self._stopping and self._task is not None:
                self._task.cancel()
            return await work

        try:
            return asyncio.run_coroutine_threadsafe(known(), self._loop).result()
        except CancelledError:
            raise StoppedError("the process is to end") from None
        finally:
            self._task = None

    def finish(self, work: Coroutine[Any, Any, T], *, within_s: float) -> None:
        """Run what belongs to the end, also after `cancel`; what takes longer is left alone."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def cancel_after(self, seconds: float) -> None:
        """Cancel what runs then, and all that is asked for later. May be called from a signal handler."""

        def cancel() -> None:
            self._stopping = True
            if self._task is not None:
                self._task.cancel()

        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, cancel)
