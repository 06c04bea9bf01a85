"""Limits of logging in, with a real Valkey that is well, shared, hung, killed: they hold, and never by an error."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.core.context import RequestContext, current
from app.core.errors import TooManyRequestsError
from app.core.metrics import Metrics
from app.core.security.keys import Keys
from app.infrastructure.attempt_store import AttemptStore
from app.infrastructure.cache import cache_guard
from app.services.login_limits import (
    ACCOUNT,
    ADDRESS,
    EVERYBODY,
    MAX_ACCOUNTS,
    MAX_ADDRESSES,
    SIGNUP,
    LoginLimits,
    network_of,
)
from tests.app.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.app.servers import Server

pytestmark = pytest.mark.live

KEYS = Keys([b"the secret of these tests, long enough"])
ADA, ADDRESS_A = "ada", "192.0.2.1"


class Clock:
    """Time that moves only when told to; it begins where windows of every limit begin."""

    def __init__(self) -> None:
        self.now = 36_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of this process and, where a test shares it, of the store."""
    return Clock()


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


@pytest.fixture
async def limits(valkey: Server, clock: Clock, metrics: Metrics) -> AsyncIterator[LoginLimits]:
    """The limits of one process, on a Valkey that is well."""
    async with limits_on(valkey, clock, metrics) as limits:
        yield limits


@pytest.fixture
def alone(metrics: Metrics, clock: Clock) -> LoginLimits:
    """The limits of a process whose Redis is switched off."""
    return LoginLimits(None, KEYS, metrics, clock)


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


BOTH = pytest.mark.parametrize("which", ["limits", "alone"])


@pytest.fixture
def either(which: str, request: pytest.FixtureRequest) -> LoginLimits:
    """The limits with and without Redis: the same promises."""
    limits: LoginLimits = request.getfixturevalue(which)
    return limits


@BOTH
async def test_an_account_has_five_failures(either: LoginLimits) -> None:
    """The sixth guess never sees the password, from whatever address; other accounts go on."""
    assert await fail_often(either, 20) == ACCOUNT.count == 5
    assert await refused(either) <= 2 * ACCOUNT.period_s
    await either.check("grace", ADDRESS_A)


@BOTH
async def test_a_lock_ends_by_itself(either: LoginLimits, clock: Clock) -> None:
    """After the time that was named the owner gets in, without anybody's help."""
    await fail_often(either, 5)
    wait_s = await refused(either)
    clock.now += wait_s - 0.01
    await refused(either)
    clock.now += 0.02
    await either.check(ADA, ADDRESS_A)


@BOTH
async def test_guessing_on_for_hours_gains_no_more_than_the_limit(
    either: LoginLimits, clock: Clock
) -> None:
    """Two guesses a second for two hours: 5 a period get through, and one window more at the most."""
    periods, step_s = 24, 15.0
    through = 0
    for _ in range(int(periods * ACCOUNT.period_s / step_s)):
        clock.now += step_s
        through += await fail_often(either, 2)

    assert through <= ACCOUNT.count * (periods + 1)


@BOTH
async def test_success_forgets_the_failures(either: LoginLimits) -> None:
    """Who mistypes four times and then gets it right begins anew."""
    for _ in range(4):
        assert await fail_often(either, 4) == 4
        await either.check(ADA, ADDRESS_A)
        await either.succeeded(ADA, ADDRESS_A)


@BOTH
async def test_a_name_in_other_case_is_the_same_account(either: LoginLimits) -> None:
    """Each spelling would be another five guesses."""
    through = [await fail(either, name) for name in ("ada", "Ada", "ADA", "aDa", "adA", "AdA")]

    assert through == [True] * 5 + [False]


@BOTH
async def test_an_address_has_sixty_attempts_a_minute(either: LoginLimits, clock: Clock) -> None:
    """Right or wrong, each on another account: the 61st waits; another address does not."""
    for number in range(ADDRESS.count):
        await either.check(f"user-{number}", ADDRESS_A)
        await either.succeeded(f"user-{number}", ADDRESS_A)
    wait_s = await refused(either, "user-60")
    await either.check("user-60", "192.0.2.2")
    clock.now += wait_s + 0.01
    await either.check("user-60", ADDRESS_A)


@BOTH
async def test_ones_own_account_clears_nothing_for_the_address(either: LoginLimits) -> None:
    """Getting in oneself between guesses at others buys no more guesses."""
    through = 0
    for number in range(ADDRESS.count):
        through += await fail(either, f"user-{number}")
        try:
            await either.check("mallory", ADDRESS_A)
        except TooManyRequestsError:
            continue
        await either.succeeded("mallory", ADDRESS_A)

    assert through == ADDRESS.count / 2


@BOTH
async def test_stuffing_by_spread_addresses_meets_a_limit_of_all_together(
    either: LoginLimits, clock: Clock
) -> None:
    """Another address and another account each time: 600 failures a minute, then all wait for a moment."""
    through = 0
    for number in range(EVERYBODY.count + 50):
        through += await fail(either, f"user-{number}", f"10.0.{number // 250}.{number % 250}")

    assert through == EVERYBODY.count
    clock.now += await refused(either, "grace") + 0.01
    await either.check("grace", ADDRESS_A)


@BOTH
async def test_an_address_has_twenty_sign_ups_an_hour(either: LoginLimits, clock: Clock) -> None:
    """They are counted apart from attempts to log in."""
    for _ in range(SIGNUP.count):
        await either.check_signup(ADDRESS_A)
    with pytest.raises(TooManyRequestsError) as error:
        await either.check_signup(ADDRESS_A)
    await either.check_signup("192.0.2.2")
    await either.check(ADA, ADDRESS_A)
    assert error.value.retry_after_s is not None
    clock.now += error.value.retry_after_s + 0.01
    await either.check_signup(ADDRESS_A)


@BOTH
async def test_a_burst_of_guesses_gets_no_more_than_the_limit(either: LoginLimits) -> None:
    """50 at the same moment, before any has failed: five see the password, and after them nobody."""
    looked = asyncio.Event()

    async def guess() -> bool:
        try:
            await either.check(ADA, ADDRESS_A)
        except TooManyRequestsError:
            return False
        await looked.wait()
        await either.failed(ADA, ADDRESS_A)
        return True

    guesses = [asyncio.create_task(guess()) for _ in range(50)]
    await until(lambda: sum(task.done() for task in guesses) == 45)
    looked.set()

    assert sum(await asyncio.gather(*guesses)) == ACCOUNT.count
    await refused(either)
    assert either._under_way == {}


@BOTH
async def test_attempts_that_end_otherwise_take_no_place(either: LoginLimits) -> None:
    """Cancelled, broken off by an error, a code still missing: neither a failure nor for ever under way."""

    async def broken_off() -> None:
        await either.check(ADA, ADDRESS_A)
        raise RuntimeError

    async def hanging() -> None:
        await either.check(ADA, ADDRESS_A)
        await asyncio.Event().wait()

    for _ in range(10):
        await asyncio.gather(asyncio.create_task(broken_off()), return_exceptions=True)
        task = asyncio.create_task(hanging())
        await until(lambda: len(either._under_way) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)

    assert either._under_way == {}
    assert await fail_often(either, 6) == 5


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
    valkey: Server, limits: LoginLimits, alone: LoginLimits
) -> None:
    """Without it the answer is no, which asks the database; never an error."""
    user = UUID(int=7)
    await limits.step_used(user, 100)
    assert await limits.step_was_used(user, 100)
    assert not await limits.step_was_used(user, 101)
    valkey.kill()

    assert not await limits.step_was_used(user, 100)
    await limits.step_used(user, 101)
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


@BOTH
async def test_a_lock_is_logged_once(either: LoginLimits, clock: Clock) -> None:
    """At the failure that reaches the limit, by pseudonym, with neither name nor address; not at each try after it."""
    with capture_logs() as lines:
        await fail_often(either, 4, "Ada@socialflow.example")
        assert lines == []
        await fail_often(either, 30, "Ada@socialflow.example")
        clock.now += 61.0  # one more guess is let through, and locks again
        await fail_often(either, 30, "Ada@socialflow.example")
        locked = [line for line in lines if line["event"] == "account_locked"]

    (line,) = locked
    assert line.pop("retry_after_s") > 0
    assert line == {
        "component": "auth",
        "event": "account_locked",
        "limit": "account",
        "log_level": "warning",
        "status": "failure",
        "user": KEYS.pseudonym("ada@socialflow.example"),
    }


@BOTH
async def test_the_limit_of_all_together_is_logged_once(either: LoginLimits) -> None:
    """It is nobody's account, so the line names none."""
    with capture_logs() as lines:
        for number in range(EVERYBODY.count + 20):
            await fail(either, f"user-{number}", f"10.0.{number // 250}.{number % 250}")

    (line,) = [line for line in lines if line["event"] == "account_locked"]
    assert line["limit"] == "everybody"
    assert "user" not in line


async def test_failures_that_end_together_are_one_lock_in_the_log(limits: LoginLimits) -> None:
    """Five at the same moment lock once."""
    await fail_often(limits, 1)
    with capture_logs() as lines:
        for _ in range(4):
            await limits.check(ADA, ADDRESS_A)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(limits.failed(ADA, ADDRESS_A))

    assert [line["event"] for line in lines if line["event"] == "account_locked"] == [
        "account_locked"
    ]


async def test_nothing_grows_without_bound(alone: LoginLimits, clock: Clock) -> None:
    """25 000 made-up names and addresses: counters stay within their size, a lock is not pushed out."""
    await fail_often(alone, 5)
    for number in range(25_000):
        clock.now += 0.002  # 50 s in all: within the period that locks the account
        await fail(alone, f"user-{number}", f"made-up-{number}")

    assert len(alone._accounts) <= EVERYBODY.count * 2 + 5 < MAX_ACCOUNTS
    assert len(alone._addresses) <= MAX_ADDRESSES
    assert len(alone._logged) <= MAX_ACCOUNTS
    assert alone._under_way == {}
    await refused(alone, ADA, "192.0.2.200")


def test_no_number_of_failures_pushes_out_a_lock() -> None:
    """All failures that the limit of all together lets through while a failure counts have room at once."""
    counts_s = 2 * ACCOUNT.period_s
    windows = counts_s / EVERYBODY.period_s + 1
    assert EVERYBODY.count * windows < MAX_ACCOUNTS


async def test_a_switched_off_redis_is_said(alone: LoginLimits) -> None:
    """Limits that hold in one process only are a degraded answer."""
    context = RequestContext("req-1", "trace")
    current.set(context)
    await alone.check(ADA, ADDRESS_A)

    assert context.degraded == {"auth"}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, network: str) -> None:
    """Who has one has 2^64 addresses; an IPv4 address is itself, however it is written."""
    assert network_of(address) == network


async def test_addresses_of_one_network_share_a_limit(alone: LoginLimits) -> None:
    """Another address of the same /64 for each attempt gains nothing."""
    through = [await fail(alone, f"user-{n}", f"2001:db8::{n:x}") for n in range(70)]

    assert sum(through) == ADDRESS.count


async def test_limits_of_two_kinds_never_share_a_key(alone: LoginLimits) -> None:
    """An account that is named like an address is not that address."""
    for _ in range(5):
        await fail(alone, ADDRESS_A, "192.0.2.9")

    await alone.check(ADA, ADDRESS_A)
