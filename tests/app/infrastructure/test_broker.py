"""The broker's sign of life."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.core.resilience.guard import Reason
from app.infrastructure.broker import TIMEOUT_S, Broker
from app.infrastructure.cache import classify_redis

if TYPE_CHECKING:
    from tests.app.servers import Server


async def test_ping(valkey: Server) -> None:
    """A living broker answers; one that hangs is a timeout within its limit; one that is gone is refused."""
    broker = Broker(f"redis://{valkey.address}/1")
    await broker.ping()

    valkey.stop()
    async with asyncio.timeout(2 * TIMEOUT_S):
        with pytest.raises(Exception) as hung:  # noqa: PT011 - which one is the client's business, its class is ours
            await broker.ping()
    assert classify_redis(hung.value) is Reason.TIMEOUT

    valkey.kill()
    with pytest.raises(Exception) as gone:  # noqa: PT011 - as above
        await broker.ping()
    assert classify_redis(gone.value) is Reason.REFUSED
    await broker.close()


async def test_ping_survives_a_restart(valkey: Server) -> None:
    """A connection that a restart cut is no outage: the next ping opens another."""
    broker = Broker(f"redis://{valkey.address}/1")
    await broker.ping()
    valkey.kill()
    valkey.start()

    await broker.ping()
    await broker.close()
