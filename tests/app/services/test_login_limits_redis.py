"""Limits of logging in and a real Valkey that is shared, hung, killed: they hold, and never by an error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from app.core.context import RequestContext, current
from app.core.errors import TooManyRequestsError
from app.services.login_limits import ACCOUNT, ADDRESS, EVERYBODY, SIGNUP, LoginLimits
from tests.app.services.limits import (
    ADA,
    ADDRESS_A,
    KEYS,
    Clock,
    fail,
    fail_often,
    limits_on,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.core.metrics import Metrics
    from tests.app.servers import Server

pytestmark = pytest.mark.live


@pytest.fixture
def clock() -> Clock:
    """The time of the process and of the store."""
    return Clock()


@pytest.fixture
async def limits(valkey: Server, clock: Clock, metrics: Metrics) -> AsyncIterator[LoginLimits]:
    """The limits of one process, on a Valkey that is well."""
    async with limits_on(valkey, clock, metrics) as limits:
        yield limits


async def test_processes_count_together(valkey: Server, clock: Clock) -> None:
    """Three failures in one, two in another: both refuse; success in one forgets for both."""
    async with limits_on(valkey, clock) as one, limits_on(valkey, clock) as other:
        assert await fail_often(one, 3) == 3
        assert await fail_often(other, 3) == 2
        await refused(one)
        await refused(other)
        assert one._accounts.peek(one._account_key(ADA), ACCOUNT).allowed


async def test_limits_hold_while_redis_is_killed_in_the_middle(
    valkey: Server, clock: Clock, limits: LoginLimits, sample: Callable[..., float]
) -> None:
    """Three failures before, two after, and the account is locked, also when an empty Redis is back."""
    context = RequestContext("req-1", "trace")
    current.set(context)
    assert await fail_often(limits, 3) == 3
    assert context.degraded == set()
    valkey.kill()
    assert await fail_often(limits, 10) == 2
    await refused(limits)
    await limits.check("grace", ADDRESS_A)
    await limits.succeeded("grace", ADDRESS_A)
    await limits.check_signup(ADDRESS_A)

    assert context.degraded == {"auth"}
    reasons = ("refused", "reset", "timeout", "breaker_open", "error")
    counted = [
        sample("app_fallback_total", dependency="redis-cache", reason=reason) for reason in reasons
    ]
    # Two failures: a check and a count each; then a check, a forgetting and a sign-up. Refusals ask nobody.
    assert sum(counted) == 2 * 2 + 3
    valkey.start()
    await refused(limits)
    assert await fail_often(limits, 5) == 0


async def test_all_limits_hold_without_redis(valkey: Server, limits: LoginLimits) -> None:
    """A killed Redis opens nothing: sixty an address, six hundred together, twenty sign-ups."""
    valkey.kill()
    one = [await fail(limits, f"user-{n}", ADDRESS_A) for n in range(70)]
    many = [await fail(limits, f"user-{n}", f"10.1.{n // 250}.{n % 250}") for n in range(70, 700)]
    signups = 0
    for _ in range(30):
        try:
            await limits.check_signup(ADDRESS_A)
        except TooManyRequestsError:
            continue
        signups += 1

    assert sum(one) == ADDRESS.count
    assert sum(one) + sum(many) == EVERYBODY.count
    assert signups == SIGNUP.count


async def test_a_redis_that_hangs_delays_little_and_breaks_nothing(
    valkey: Server, limits: LoginLimits
) -> None:
    """Attempts go on; once the breaker is open none of them waits for Redis at all."""
    valkey.stop()
    async with asyncio.timeout(20.0):
        await asyncio.gather(*(limits.check(f"user-{n}", f"10.0.0.{n}") for n in range(40)))
        assert await fail_often(limits, 6) == 5
        assert not await limits.step_was_used(UUID(int=7), 1)
        await limits.step_used(UUID(int=7), 1)
    valkey.resume()


async def test_used_codes_are_known_while_redis_is_there(
    valkey: Server, limits: LoginLimits, metrics: Metrics
) -> None:
    """Without it the answer is no, which asks the database; never an error."""
    user = UUID(int=7)
    await limits.step_used(user, 100)
    assert await limits.step_was_used(user, 100)
    assert not await limits.step_was_used(user, 101)
    valkey.kill()

    assert not await limits.step_was_used(user, 100)
    await limits.step_used(user, 101)
    alone = LoginLimits(None, KEYS, metrics)
    await alone.step_used(user, 100)
    assert not await alone.step_was_used(user, 100)


async def test_redis_holds_pseudonyms_only_and_nothing_for_ever(
    valkey: Server, limits: LoginLimits
) -> None:
    """Neither a name, an e-mail address nor an IP is in any key or value, and every key has its end."""
    people = {"ada@socialflow.example": "192.0.2.77", "grace-hopper": "2001:db8:77::1"}
    for name, address in people.items():
        await fail(limits, name, address)
        await limits.check_signup(address)
    await limits.step_used(UUID(int=7), 58_000_000)
    client: Any = Redis.from_url(f"redis://{valkey.address}/0")
    keys = await client.keys()
    lives_ms = [await client.pttl(key) for key in keys]
    content = b"\n".join([*keys, *[await client.dump(key) for key in keys]]).decode("latin-1")
    await client.aclose()

    assert len(keys) == 2 * 3 + 1 + 1
    assert min(lives_ms) > 0
    assert max(lives_ms) <= 2 * SIGNUP.period_s * 1000
    for text in (*people, *people.values(), "socialflow", "2001:db8", "192.0", "hopper"):
        assert text not in content
    assert KEYS.pseudonym("grace-hopper") in content
