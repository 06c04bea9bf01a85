"""Limits of logging in on a clock that a test moves, and attempts against them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from app.core.errors import TooManyRequestsError
from app.core.metrics import Metrics
from app.core.security.keys import Keys
from app.infrastructure.attempt_store import AttemptStore
from app.infrastructure.cache import cache_guard
from app.services.login_limits import LoginLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.app.servers import Server

KEYS = Keys([b"the secret of these tests, long enough"])
ADA, ADDRESS_A = "ada", "192.0.2.1"


class Clock:
    """Time that moves only when told to; it begins where windows of every limit begin."""

    def __init__(self) -> None:
        self.now = 36_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@asynccontextmanager
async def limits_on(
    server: Server, clock: Clock, metrics: Metrics | None = None
) -> AsyncIterator[LoginLimits]:
    """Build the limits of one process on `server`."""
    metrics = metrics or Metrics(CollectorRegistry())
    store = AttemptStore(f"redis://{server.address}/0", cache_guard(metrics), clock)
    try:
        yield LoginLimits(store, KEYS, metrics, clock)
    finally:
        await store.close()


async def fail(limits: LoginLimits, account: str = ADA, address: str = ADDRESS_A) -> bool:
    """Guess wrongly; return whether the guess got as far as the password."""
    try:
        await limits.check(account, address)
    except TooManyRequestsError:
        return False
    await limits.failed(account, address)
    return True


async def fail_often(limits: LoginLimits, times: int, account: str = ADA) -> int:
    """Guess from an address of each guess's own; return how many got as far as the password."""
    return sum([await fail(limits, account, f"198.51.100.{n % 250}") for n in range(times)])


async def refused(limits: LoginLimits, account: str = ADA, address: str = ADDRESS_A) -> float:
    """Return for how long the next attempt must wait; fail when it may go on."""
    with pytest.raises(TooManyRequestsError) as error:
        await limits.check(account, address)
    assert error.value.retry_after_s is not None
    return error.value.retry_after_s
