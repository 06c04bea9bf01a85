"""What stands around every call of a dependency, and what comes out of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from app.core.errors import DeadlineExceededError, UnavailableError
from app.core.resilience.breaker import BreakerConfig, BreakerState
from app.core.resilience.bulkhead import Bulkhead
from app.core.resilience.deadline import deadline
from app.core.resilience.guard import (
    DependencyUnavailableError,
    Guard,
    Reason,
    build_guard,
    classify,
)
from tests.app.conftest import state_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.metrics import Metrics

BREAKER = BreakerConfig(window=10, minimum_calls=5, slow_call_s=0.05, open_s=0.05)


def make(metrics: Metrics, *, breaker: BreakerConfig = BREAKER, **changes: float) -> Guard:
    """Build a guard of the cache with short times."""
    values: dict[str, float] = {"timeout_s": 0.05, "max_concurrent": 10} | changes
    return build_guard("redis-cache", breaker=breaker, gauge=metrics, **values)  # type: ignore[arg-type]


async def hang() -> None:
    """Never answer."""
    await asyncio.Event().wait()


def failing(error: BaseException) -> Callable[[], object]:
    """Build a call that fails with `error`."""

    async def fail() -> None:
        raise error

    return fail


async def reason_of(guard: Guard, fn: Callable[[], object]) -> Reason:
    """Make a call that must fail and return why."""
    with pytest.raises(DependencyUnavailableError) as failed:
        await guard.call(fn)  # type: ignore[arg-type]
    assert failed.value.dependency == "redis-cache"
    return failed.value.reason


async def open_breaker(guard: Guard) -> None:
    """Fail until the breaker is open."""
    while state_of(guard.breaker) is not BreakerState.OPEN:
        assert await reason_of(guard, failing(ConnectionRefusedError())) is Reason.REFUSED


async def test_an_answer_comes_through(metrics: Metrics) -> None:
    """Nothing is added, nothing taken."""

    async def answer() -> bytes:
        return b"value"

    assert await make(metrics).call(answer) == b"value"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "refused"), Reason.REFUSED),
        (ConnectionResetError(104, "reset"), Reason.RESET),
        (BrokenPipeError(32, "broken"), Reason.RESET),
        (asyncio.IncompleteReadError(b"", 4), Reason.RESET),
        (TimeoutError(), Reason.TIMEOUT),
        (OSError(113, "no route"), Reason.ERROR),
    ],
)
async def test_each_failure_has_its_reason(
    metrics: Metrics, error: Exception, reason: Reason
) -> None:
    """The socket's error is found, also behind the error that a library made of it."""
    guard = make(metrics)

    async def wrapped() -> None:
        raise RuntimeError("library") from error

    assert await reason_of(guard, failing(error)) is reason
    assert await reason_of(guard, wrapped) is reason


async def test_a_hang_ends_with_the_timeout(metrics: Metrics) -> None:
    """A call without an answer costs `timeout_s` and no more, and its reason is timeout."""
    guard = make(metrics, timeout_s=0.03)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await reason_of(guard, hang) is Reason.TIMEOUT
    assert loop.time() - begun < 0.25


async def test_less_time_than_the_timeout_is_the_deadline_of_the_caller(metrics: Metrics) -> None:
    """A hurried caller is told so, and its hurry is not held against the dependency."""
    guard = make(metrics, timeout_s=5.0)
    for _ in range(20):
        with pytest.raises((DeadlineExceededError, DependencyUnavailableError)) as failed:
            async with deadline(0.01):
                await guard.call(hang)
        # Both limits end in the same moment; whichever is first, it is the deadline that is named.
        assert getattr(failed.value, "reason", Reason.DEADLINE) is Reason.DEADLINE

    assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_without_time_left_nothing_is_called(metrics: Metrics) -> None:
    """A request whose time is over does not burden the dependency."""
    guard = make(metrics)
    called = False

    async def note() -> None:
        nonlocal called
        called = True

    with pytest.raises(DependencyUnavailableError) as failed:
        async with deadline(-1.0):
            await guard.call(note)

    assert failed.value.reason is Reason.DEADLINE
    assert not called


async def test_the_callers_own_error_passes_and_counts_as_an_answer(metrics: Metrics) -> None:
    """A wrong query is no outage, however often it is sent."""
    guard = make(metrics)
    for _ in range(20):
        with pytest.raises(LookupError, match="wrong query"):
            await guard.call(failing(LookupError("wrong query")))  # type: ignore[arg-type]

    assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_a_full_bulkhead_is_not_held_against_the_dependency(metrics: Metrics) -> None:
    """Refusals for want of room are told apart and never open the breaker."""
    guard = make(metrics, max_concurrent=1, timeout_s=5.0)
    holder = asyncio.create_task(guard.call(hang))
    await asyncio.sleep(0)
    for _ in range(50):
        assert await reason_of(guard, hang) is Reason.BULKHEAD_FULL

    assert state_of(guard.breaker) is BreakerState.CLOSED
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    assert guard.bulkhead.in_flight == 0


async def test_an_open_breaker_refuses_before_the_bulkhead(metrics: Metrics) -> None:
    """While stuck calls hold every slot nobody waits for one: the breaker's answer comes first."""
    guard = make(metrics, max_concurrent=5, max_waiting=10, max_wait_s=5.0, timeout_s=5.0)
    holders = [asyncio.create_task(guard.call(hang)) for _ in range(5)]
    await asyncio.sleep(0)
    for _ in range(BREAKER.minimum_calls):
        guard.breaker.failed(guard.breaker.acquire())

    async with asyncio.timeout(0.04):
        assert await reason_of(guard, hang) is Reason.BREAKER_OPEN
    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)


async def test_a_probe_gets_less_patience(metrics: Metrics) -> None:
    """A user whose request is the probe waits `probe_timeout_s`, not the whole timeout."""
    guard = make(metrics, timeout_s=5.0, probe_timeout_s=0.02)
    await open_breaker(guard)
    await asyncio.sleep(BREAKER.open_s)

    async with asyncio.timeout(1.0):
        assert await reason_of(guard, hang) is Reason.TIMEOUT


async def test_probes_beside_make_nobody_wait(metrics: Metrics) -> None:
    """Of 50 calls in half-open none waits: three run on for nobody, and their outcome decides."""
    guard = make(metrics, timeout_s=5.0, breaker=replace(BREAKER, slow_call_s=5.0))
    await open_breaker(guard)
    await asyncio.sleep(BREAKER.open_s)
    release, entered = asyncio.Event(), 0

    async def probe() -> None:
        nonlocal entered
        entered += 1
        await release.wait()

    async with deadline(0.2):
        for _ in range(50):
            with pytest.raises(DependencyUnavailableError) as refused:
                await guard.call(probe, probe_beside=True)
            assert refused.value.reason is Reason.BREAKER_OPEN
    await until(lambda: entered == 3)
    # The probes outlive the deadline of the request that they were beside.
    await asyncio.sleep(0.25)
    release.set()
    await until(lambda: state_of(guard.breaker) is BreakerState.CLOSED)

    assert entered == 3
    await guard.call(probe, probe_beside=True)
    assert entered == 4


@pytest.mark.parametrize("error", [ConnectionRefusedError(), LookupError("caller's own")])
async def test_a_probe_beside_that_fails_disturbs_nobody(
    metrics: Metrics, error: Exception
) -> None:
    """Its error goes to the breaker and nowhere else: an outage reopens it, a caller's own error is an answer."""
    guard = make(metrics)
    await open_breaker(guard)
    await asyncio.sleep(BREAKER.open_s)
    for _ in range(BREAKER.half_open_calls):
        with pytest.raises(DependencyUnavailableError):
            await guard.call(failing(error), probe_beside=True)  # type: ignore[arg-type]
    await until(lambda: guard.breaker.state is not BreakerState.HALF_OPEN)

    answered = isinstance(error, LookupError)
    assert state_of(guard.breaker) is (BreakerState.CLOSED if answered else BreakerState.OPEN)


async def test_a_probe_beside_without_room_is_given_back(metrics: Metrics) -> None:
    """While stuck calls fill the bulkhead the probes find no room, and the breaker does not wedge."""
    guard = make(metrics, max_concurrent=1, timeout_s=5.0)
    await open_breaker(guard)
    await asyncio.sleep(BREAKER.open_s)
    async with guard.bulkhead:
        for _ in range(20):
            with pytest.raises(DependencyUnavailableError):
                await guard.call(hang, probe_beside=True)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not guard.breaker.refusing


async def test_a_call_that_changes_something_is_no_probe(metrics: Metrics) -> None:
    """It is refused at once while the breaker is not closed; what it names is the probe, and closes the breaker."""
    guard, calls = make(metrics), list[str]()

    async def write() -> None:
        calls.append("write")

    async def look() -> None:
        calls.append("look")

    await open_breaker(guard)
    async with asyncio.timeout(5.0):
        while state_of(guard.breaker) is not BreakerState.CLOSED:
            with pytest.raises(DependencyUnavailableError):
                await guard.call(write, probe=look)
            await asyncio.sleep(0.005)
    assert calls == ["look"] * guard.breaker.config.half_open_calls
    await guard.call(write, probe=look)

    assert calls[-1] == "write"


async def test_a_call_may_take_as_long_as_its_bytes_need(metrics: Metrics) -> None:
    """Its allowance is added to the time limit and to what counts as slow; a hang still ends, and still counts."""
    guard = make(metrics)

    async def take_a_while() -> None:
        await asyncio.sleep(0.1)  # twice the limit, and twice a slow call

    await asyncio.gather(*(guard.call(take_a_while, allowance_s=5.0) for _ in range(10)))
    assert state_of(guard.breaker) is BreakerState.CLOSED
    for _ in range(10):
        with pytest.raises(DependencyUnavailableError):
            await guard.call(hang, allowance_s=0.01)

    assert state_of(guard.breaker) is BreakerState.OPEN


async def test_a_guard_beside_has_places_of_its_own_and_the_same_breaker(metrics: Metrics) -> None:
    """Uploads that take all their places leave those of the other calls; an outage is known to both."""
    guard = make(metrics, breaker=replace(BREAKER, open_s=60.0), max_concurrent=1)
    beside = guard.beside(Bulkhead("beside", 1))
    stuck = asyncio.create_task(beside.call(hang, allowance_s=5.0))
    await until(lambda: beside.bulkhead.in_flight == 1)
    assert await reason_of(beside, hang) is Reason.BULKHEAD_FULL
    assert await reason_of(guard, failing(ConnectionRefusedError())) is Reason.REFUSED
    await open_breaker(guard)

    assert await reason_of(beside, hang) is Reason.BREAKER_OPEN
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)


async def test_transitions_are_logged_once_and_shown(
    metrics: Metrics, sample: Callable[..., float]
) -> None:
    """One line and one gauge per change of state, none per refused call."""
    guard = make(metrics)

    def state() -> dict[str, float]:
        return {
            each: sample("app_breaker_state", name="redis-cache", state=each)
            for each in ("closed", "open", "half_open")
        }

    async def answer() -> None:
        return None

    assert state() == {"closed": 1, "open": 0, "half_open": 0}
    with capture_logs() as lines:
        await open_breaker(guard)
        for _ in range(100):
            assert await reason_of(guard, hang) is Reason.BREAKER_OPEN
        assert state() == {"closed": 0, "open": 1, "half_open": 0}
        await asyncio.sleep(BREAKER.open_s)
        for _ in range(BREAKER.half_open_calls):
            await guard.call(answer)

    assert state() == {"closed": 1, "open": 0, "half_open": 0}
    assert [(line["event"], line["log_level"], line["breaker"]) for line in lines] == [
        ("breaker_opened", "warning", "redis-cache"),
        ("breaker_half_open", "info", "redis-cache"),
        ("breaker_closed", "info", "redis-cache"),
    ]


async def test_what_is_not_caught_answers_503_with_retry_after(metrics: Metrics) -> None:
    """Without a fallback the error is the answer: unavailable, and when to come back."""
    guard = make(metrics)
    with pytest.raises(UnavailableError) as failed:
        await guard.call(failing(ConnectionRefusedError()))  # type: ignore[arg-type]

    assert failed.value.status == 503
    assert failed.value.retry_after_s is not None


def test_an_error_chain_that_bites_its_tail_ends() -> None:
    """A cycle of causes, which libraries do build, does not hang the classifier."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first

    assert classify(first) is None
