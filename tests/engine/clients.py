"""Live clients of an edge: each asks, waits for the answer, asks again, and connects anew when it must."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PING = b"PING\r\n"
LIMIT_S = 5.0
POLL_S = 0.01


class Clients:
    """Request-response clients with a limit a request, like a backend's pool under load."""

    def __init__(self, address: tuple[str, int], ask: bytes, *, limit_s: float) -> None:
        self.address, self.ask, self.limit_s = address, ask, limit_s
        self.answered = 0
        self.failed = 0

    async def run(self, pause_s: float) -> None:
        """Ask for ever."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                await self._converse(pause_s)
            self.failed += 1
            await asyncio.sleep(POLL_S)

    async def _converse(self, pause_s: float) -> None:
        async with asyncio.timeout(self.limit_s):
            reader, writer = await asyncio.open_connection(*self.address)
        try:
            while True:
                writer.write(self.ask)
                async with asyncio.timeout(self.limit_s):
                    if not await reader.read(1024):
                        raise EOFError
                self.answered += 1
                await asyncio.sleep(pause_s)
        finally:
            writer.close()


@asynccontextmanager
async def clients_of(
    address: tuple[str, int],
    *,
    count: int = 4,
    ask: bytes = PING,
    limit_s: float = 0.25,
    pause_s: float = 0.005,
) -> AsyncIterator[Clients]:
    """Keep `count` live clients on `address`; they have all been answered when the block begins."""
    clients = Clients(address, ask, limit_s=limit_s)
    tasks = [asyncio.create_task(clients.run(pause_s)) for _ in range(count)]
    try:
        await until(lambda: clients.answered >= 2 * count, "the clients are answered")
        yield clients
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str, *, within_s: float = LIMIT_S) -> None:
    """Wait for a condition, and fail with `what` when it does not come."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - there is no event for what others do
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None
