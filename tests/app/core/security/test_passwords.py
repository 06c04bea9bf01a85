"""Passwords by the real argon2id: the same work for everybody, bounded, in threads of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerificationError
from structlog.testing import capture_logs

from app.core.errors import UnavailableError
from app.core.security.passwords import (
    BULKHEAD,
    MAX_CHARACTERS,
    MAX_CONCURRENT,
    MAX_WAITING,
    Passwords,
)
from tests.app.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.core.metrics import Metrics

PASSWORD = "correct horse battery staple"  # noqa: S105 - nobody's


@pytest.fixture
async def passwords(metrics: Metrics) -> AsyncIterator[Passwords]:
    """The real thing, closed at the end."""
    passwords = Passwords(metrics)
    yield passwords
    await passwords.close()


class Checks:
    """Every check that reached argon2: against which hash, in which thread; held back on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashes: list[str] = []
        self.threads: set[str] = set()
        self.go_on = threading.Event()
        self.go_on.set()
        real = PasswordHasher.verify

        def verify(hasher: PasswordHasher, hashed: str, password: Any) -> bool:
            self.hashes.append(hashed)
            self.threads.add(threading.current_thread().name)
            assert self.go_on.wait(10.0)
            return real(hasher, hashed, password)

        monkeypatch.setattr(PasswordHasher, "verify", verify)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """A look at each check."""
    return Checks(monkeypatch)


async def test_a_password_is_known_by_its_hash_alone(passwords: Passwords) -> None:
    """The right one matches, any other does not, and equal passwords have different hashes."""
    hashed = await passwords.hash(PASSWORD)

    assert await passwords.verify(PASSWORD, hashed)
    assert not await passwords.verify(PASSWORD + " ", hashed)
    assert not await passwords.verify("", hashed)
    assert PASSWORD not in hashed
    assert await passwords.hash(PASSWORD) != hashed


async def test_the_cost_is_what_owasp_asks_for(passwords: Passwords) -> None:
    """argon2id with 19 MiB, two passes, one lane."""
    assert (await passwords.hash(PASSWORD)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_an_account_that_does_not_exist_costs_the_same(
    passwords: Passwords, checks: Checks, sample: Callable[..., float]
) -> None:
    """One real check by the same parameters on a hash of nothing, made once; never a match."""
    hashed = await passwords.hash(PASSWORD)
    for _ in range(3):
        assert not await passwords.verify(PASSWORD, None)

    assert len(checks.hashes) == 3
    assert len(set(checks.hashes)) == 1
    assert extract_parameters(checks.hashes[0]) == extract_parameters(hashed)
    assert sample("password_hash_seconds_count") == 4


async def test_the_first_unknown_name_is_no_slower(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dummy is made before any first work, so a name that does not exist never pays for it."""
    hashed = await passwords.hash(PASSWORD)
    monkeypatch.setattr(PasswordHasher, "hash", None)

    assert not await passwords.verify(PASSWORD, None)
    assert await passwords.verify(PASSWORD, hashed)


async def test_the_dummy_is_made_once(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the first checks come together, and never in the loop's thread."""
    real, threads = PasswordHasher.hash, list[str]()

    def spy(hasher: PasswordHasher, password: Any) -> str:
        threads.append(threading.current_thread().name)
        return real(hasher, password)

    monkeypatch.setattr(PasswordHasher, "hash", spy)
    answers = await asyncio.gather(*(passwords.verify(PASSWORD, None) for _ in range(4)))

    assert answers == [False] * 4
    assert len(threads) == 1
    assert threads[0].startswith("passwords")


async def test_a_password_too_long_never_reaches_argon2(
    passwords: Passwords, checks: Checks
) -> None:
    """128 characters are hashed, whatever they are; one more is refused unread, for every account alike."""
    longest = "\U0001f600" * MAX_CHARACTERS
    hashed = await passwords.hash(longest)
    assert await passwords.verify(longest, hashed)
    checks.hashes.clear()

    assert not await passwords.verify(longest + "x", hashed)
    assert not await passwords.verify(longest + "x", None)
    assert not await passwords.verify("x" * 10_000_000, hashed)
    with pytest.raises(ValueError, match="a password of 129 characters; expected at most 128"):
        await passwords.hash(longest + "x")
    assert checks.hashes == []


async def test_one_password_is_one_whatever_keyboard_typed_it(passwords: Passwords) -> None:
    """An accent composed or not, half a surrogate pair, a NUL: each is a password that matches itself."""
    assert await passwords.verify("cafe\u0301", await passwords.hash("caf\u00e9"))
    for odd in ("\ud800", "a\0b", " "):
        hashed = await passwords.hash(odd)
        assert await passwords.verify(odd, hashed)
    assert not await passwords.verify("a\0c", await passwords.hash("a\0b"))


async def test_work_is_done_in_threads_of_its_own(passwords: Passwords, checks: Checks) -> None:
    """Neither the loop's thread nor the default pool, which files and S3 need, ever hashes."""
    await asyncio.gather(*(passwords.verify(PASSWORD, None) for _ in range(6)))

    assert checks.threads
    assert all(name.startswith("passwords") for name in checks.threads)
    assert len(checks.threads) <= MAX_CONCURRENT


async def test_a_crowd_is_refused_at_once_with_503(
    passwords: Passwords, checks: Checks, sample: Callable[..., float]
) -> None:
    """Two at work, 32 waiting; the next one hears so while the two still work, and the places show in the metrics."""
    await passwords.verify(PASSWORD, None)
    checks.go_on.clear()
    waiting = [
        asyncio.create_task(passwords.verify(PASSWORD, None))
        for _ in range(MAX_CONCURRENT + MAX_WAITING)
    ]
    await asyncio.sleep(0)

    assert sample("app_bulkhead_calls", name=BULKHEAD, state="in_flight") == MAX_CONCURRENT
    assert sample("app_bulkhead_calls", name=BULKHEAD, state="waiting") == MAX_WAITING
    with pytest.raises(UnavailableError, match="the password check is unavailable") as refused:
        await passwords.verify(PASSWORD, None)
    assert refused.value.status == 503
    assert refused.value.retry_after_s
    checks.go_on.set()
    # On a slow machine the last may have waited too long; nobody hears anything else.
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert answer is False or isinstance(answer, UnavailableError)
    assert sample("app_bulkhead_calls", name=BULKHEAD, state="in_flight") == 0


async def test_a_caller_who_leaves_frees_no_place_that_is_taken(
    passwords: Passwords, checks: Checks
) -> None:
    """A thread cannot be stopped: its place comes free when it is done, or callers would pile up behind it."""
    checks.go_on.clear()
    caller = asyncio.create_task(passwords.verify(PASSWORD, None))
    await until(lambda: len(checks.hashes) == 1)
    caller.cancel()
    await asyncio.wait([caller])

    assert caller.cancelled()
    assert passwords._bulkhead.in_flight == 1
    checks.go_on.set()
    await until(lambda: passwords._bulkhead.in_flight == 0)


async def test_a_caller_who_leaves_the_queue_costs_nothing(
    passwords: Passwords, checks: Checks
) -> None:
    """What nobody waits for is never hashed."""
    checks.go_on.clear()
    at_work = [asyncio.create_task(passwords.verify(PASSWORD, None)) for _ in range(2)]
    await until(lambda: len(checks.hashes) == 2)
    queued = asyncio.create_task(passwords.verify(PASSWORD, None))
    await until(lambda: passwords._bulkhead.waiting == 1)
    queued.cancel()
    await asyncio.wait([queued])
    checks.go_on.set()

    assert await asyncio.gather(*at_work) == [False, False]
    assert (passwords._bulkhead.in_flight, passwords._bulkhead.waiting) == (0, 0)
    assert len(checks.hashes) == 2


async def test_a_hash_that_cannot_be_read_lets_nobody_in(
    passwords: Passwords, checks: Checks
) -> None:
    """Damage in the database is an error in the log, without the hash; for the caller a wrong password like any."""
    with capture_logs() as lines:
        assert not await passwords.verify(PASSWORD, "not a hash")

    assert lines == [
        {
            "component": "auth",
            "event": "password_hash_unreadable",
            "log_level": "error",
            "status": "failure",
        }
    ]
    assert len(checks.hashes) == 2


async def test_when_argon2_cannot_work_nobody_is_told_a_wrong_password(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory is 503, not 401."""

    def fail(*_: object) -> bool:
        raise VerificationError("Memory allocation error")

    hashed = await passwords.hash(PASSWORD)
    monkeypatch.setattr(PasswordHasher, "verify", fail)
    with pytest.raises(UnavailableError):
        await passwords.verify(PASSWORD, hashed)


async def test_a_hash_of_other_parameters_is_outdated(passwords: Passwords) -> None:
    """Weaker, stronger or unreadable: worth a new hash at the next login; it still matches until then."""
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1, type=Type.ID).hash(PASSWORD)

    assert passwords.outdated(old)
    assert passwords.outdated("not a hash")
    assert await passwords.verify(PASSWORD, old)
    assert not passwords.outdated(await passwords.hash(PASSWORD))


async def test_closing_ends_the_threads(metrics: Metrics) -> None:
    """Nothing is left behind, also when work is on its way."""
    passwords = Passwords(metrics)
    work = asyncio.create_task(passwords.verify(PASSWORD, None))
    await until(lambda: passwords._bulkhead.in_flight == 1)
    await passwords.close()

    assert await work is False
    await until(lambda: not any(thread.is_alive() for thread in passwords._pool._threads))
