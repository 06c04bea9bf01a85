"""Limits of logging in: each of them, with a real Valkey and with Redis switched off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from app.core.context import RequestContext, current
from app.core.errors import TooManyRequestsError
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
    from collections.abc import AsyncIterator

    from app.core.metrics import Metrics
    from tests.app.servers import Server

pytestmark = pytest.mark.live


@pytest.fixture
def clock() -> Clock:
    """The time of this process and, where a test shares it, of the store."""
    return Clock()


@pytest.fixture
async def limits(valkey: Server, clock: Clock, metrics: Metrics) -> AsyncIterator[LoginLimits]:
    """The limits of one process, on a Valkey that is well."""
    async with limits_on(valkey, clock, metrics) as limits:
        yield limits


@pytest.fixture
def alone(metrics: Metrics, clock: Clock) -> LoginLimits:
    """The limits of a process whose Redis is switched off."""
    return LoginLimits(None, KEYS, metrics, clock)


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


@BOTH
async def test_a_lock_is_logged_once(either: LoginLimits, clock: Clock) -> None:
    """At the failure that reaches the limit, by pseudonym, with neither name nor address; not at each try after it."""
    with capture_logs() as lines:
        await fail_often(either, 4, "Ada@socialflow.example")
        assert lines == []
        await fail_often(either, 30, "Ada@socialflow.example")
        clock.now += ACCOUNT.period_s + 61  # one more guess is let through, and locks again
        assert await fail_often(either, 30, "Ada@socialflow.example") == 1
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
