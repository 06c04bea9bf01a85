"""The breaker against a simple model on a virtual clock, and its promises one by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from app.core.resilience.breaker import (
    Breaker,
    BreakerConfig,
    BreakerOpenError,
    BreakerState,
    Permit,
    Transition,
)
from tests.app.conftest import state_of

CONFIG = BreakerConfig(
    window=10,
    minimum_calls=5,
    failure_rate=0.5,
    slow_call_s=1.0,
    slow_call_rate=0.8,
    open_s=4.0,
    half_open_calls=3,
)


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Model:
    """The specification, slow and obvious: every outcome since the state was entered, counted anew each time."""

    config: BreakerConfig
    state: str = "closed"
    entered_at: float = 0.0
    entries: int = 0
    outcomes: list[tuple[bool, bool]] = field(default_factory=list)
    probes_out: int = 0

    def admits(self, now: float) -> bool:
        """Whether a call that starts now goes through; time may end the open state."""
        if self.state == "open" and now >= self.entered_at + self.config.open_s:
            self._enter("half_open", now)
        if self.state == "half_open":
            if self.probes_out + len(self.outcomes) >= self.config.half_open_calls:
                return False
            self.probes_out += 1
            return True
        return self.state == "closed"

    def report(self, entry: int, now: float, *, failed: bool, slow: bool) -> None:
        """Count an outcome of a call that started in the current state."""
        if entry != self.entries:
            return
        self.outcomes.append((failed, slow))
        if self.state == "half_open":
            self.probes_out -= 1
            if len(self.outcomes) == self.config.half_open_calls:
                self._enter("open" if self._bad(self.outcomes) else "closed", now)
        elif len(self.outcomes) >= min(self.config.minimum_calls, self.config.window) and self._bad(
            self.outcomes[-self.config.window :]
        ):
            self._enter("open", now)

    def give_back(self, entry: int) -> None:
        """Let another probe go in place of one that said nothing."""
        if entry == self.entries and self.state == "half_open":
            self.probes_out -= 1

    def _bad(self, outcomes: list[tuple[bool, bool]]) -> bool:
        failures = sum(failed for failed, _ in outcomes) / len(outcomes)
        slow = sum(slow for _, slow in outcomes) / len(outcomes)
        return failures >= self.config.failure_rate or slow >= self.config.slow_call_rate

    def _enter(self, state: str, now: float) -> None:
        self.state, self.entered_at, self.outcomes, self.probes_out = state, now, [], 0
        self.entries += 1


CONFIGS = st.just(CONFIG) | st.builds(
    BreakerConfig,
    slow_call_s=st.sampled_from((0.25, 1.0, 3.0)),
    window=st.integers(1, 12),
    minimum_calls=st.integers(1, 15),
    failure_rate=st.sampled_from((0.01, 1 / 3, 0.5, 1.0)),
    slow_call_rate=st.sampled_from((0.01, 0.5, 0.8, 1.0)),
    open_s=st.sampled_from((0.25, 4.0)),
    half_open_calls=st.integers(1, 5),
)


@dataclass(frozen=True)
class Call:
    """A call on its way, as the breaker and as the model know it."""

    permit: Permit
    entry: int
    started: float


class BreakerMachine(RuleBasedStateMachine):
    """Calls start, end well, badly or never, time passes; breaker and model must agree at each step."""

    calls: Bundle[Call] = Bundle("calls")

    @initialize(config=CONFIGS)
    def make(self, config: BreakerConfig) -> None:
        """Build both, for any configuration."""
        self.config = config
        self.clock = Clock()
        self.transitions: list[Transition] = []
        self.breaker = Breaker("model", config, self.clock, self.transitions.append)
        self.model = Model(config)

    @rule(seconds=st.sampled_from((0.25, 0.5, 1.0, 4.0)))
    def time_passes(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.now += seconds

    @rule(target=calls)
    def start(self) -> Call | MultipleResults[Call]:
        """Ask for a permit; both say yes or both say no."""
        refusing = self.breaker.refusing
        admitted = self.model.admits(self.clock.now)
        assert refusing is not admitted
        if not admitted:
            with pytest.raises(BreakerOpenError):
                self.breaker.acquire()
            return multiple()
        permit = self.breaker.acquire()
        assert permit.probe is (self.model.state == "half_open")
        return Call(permit, self.model.entries, self.clock.now)

    @rule(call=consumes(calls), failed=st.booleans(), twice=st.booleans())
    def end(self, call: Call, *, failed: bool, twice: bool) -> None:
        """Report an outcome; a second report of the same call changes nothing."""
        slow = self.clock.now - call.started >= self.config.slow_call_s
        self.model.report(call.entry, self.clock.now, failed=failed, slow=slow)
        report = self.breaker.failed if failed else self.breaker.succeeded
        report(call.permit)
        if twice:
            self.breaker.failed(call.permit)
            self.breaker.cancelled(call.permit)

    @rule(call=consumes(calls))
    def cancel(self, call: Call) -> None:
        """Give up a call: a failure when it was slow already, otherwise its permit comes back."""
        if self.clock.now - call.started >= self.config.slow_call_s:
            self.model.report(call.entry, self.clock.now, failed=True, slow=True)
        else:
            self.model.give_back(call.entry)
        self.breaker.cancelled(call.permit)

    @invariant()
    def agree(self) -> None:
        """Both are in the same state, and every change of it was told once."""
        assert self.breaker.state == self.model.state
        assert len(self.transitions) == self.model.entries


TestBreakerAgainstModel = BreakerMachine.TestCase
TestBreakerAgainstModel.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=50, deadline=None
)


def make() -> tuple[Breaker, Clock, list[Transition]]:
    """Build a breaker with its clock and the list of its transitions."""
    clock, transitions = Clock(), list[Transition]()
    return Breaker("test", CONFIG, clock, transitions.append), clock, transitions


async def good() -> str:
    """Answer at once."""
    return "answer"


async def bad() -> str:
    """Fail at once."""
    raise OSError("refused")


async def open_it(breaker: Breaker) -> None:
    """Fail until it opens."""
    while state_of(breaker) is BreakerState.CLOSED:
        with pytest.raises(OSError, match="refused"):
            await breaker.call(bad)


async def test_it_judges_no_fewer_than_the_minimum_of_calls() -> None:
    """Four failures of four calls are no verdict; the fifth is."""
    breaker, _, _ = make()
    for calls in range(1, 6):
        with pytest.raises(OSError, match="refused"):
            await breaker.call(bad)
        assert state_of(breaker) is (BreakerState.OPEN if calls == 5 else BreakerState.CLOSED)


async def test_interleaved_failures_open_it() -> None:
    """Two failures in three calls open it, though no two successes are far apart: the share counts, not the run."""
    breaker, _, _ = make()
    for calls in range(30):
        try:
            await breaker.call(good if calls % 3 == 0 else bad)
        except (OSError, BreakerOpenError):
            continue
    assert state_of(breaker) is BreakerState.OPEN


async def test_old_outcomes_leave_the_window() -> None:
    """Failures count only while they are among the last `window` calls."""
    breaker, _, _ = make()
    for _ in range(6):
        await breaker.call(good)
    for _ in range(4):
        with pytest.raises(OSError, match="refused"):
            await breaker.call(bad)
    for _ in range(10):
        await breaker.call(good)
    for _ in range(4):
        with pytest.raises(OSError, match="refused"):
            await breaker.call(bad)

    assert state_of(breaker) is BreakerState.CLOSED


async def test_answers_that_come_too_late_open_it() -> None:
    """Slow successes alone, at `slow_call_rate`, open it."""
    breaker, clock, transitions = make()

    async def slow() -> None:
        clock.now += CONFIG.slow_call_s

    for _ in range(5):
        await breaker.call(slow)

    assert state_of(breaker) is BreakerState.OPEN
    assert transitions[-1].slow_rate == 1.0
    assert transitions[-1].failure_rate == 0.0


async def test_while_open_nothing_is_called() -> None:
    """A refused call never reaches its function, and the error says how long to wait."""
    breaker, clock, _ = make()
    await open_it(breaker)
    clock.now += 1.0
    called = False

    async def note() -> None:
        nonlocal called
        called = True

    with pytest.raises(BreakerOpenError) as refused:
        await breaker.call(note)

    assert not called
    assert refused.value.retry_after_s == pytest.approx(CONFIG.open_s - 1.0)


@pytest.mark.parametrize("outcome", ["good", "bad"])
async def test_half_open_lets_exactly_the_probes_through(outcome: str) -> None:
    """Of 50 concurrent calls three go through, and their outcome decides alone."""
    breaker, clock, transitions = make()
    await open_it(breaker)
    clock.now += CONFIG.open_s
    release = asyncio.Event()
    entered = 0

    async def probe() -> str:
        nonlocal entered
        entered += 1
        await release.wait()
        return await (good() if outcome == "good" else bad())

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(asyncio.wait_for(_outcome(breaker.call(probe)), 5.0))
            for _ in range(50)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert entered == 3
        release.set()
    results = [task.result() for task in tasks]

    assert results.count("BreakerOpenError") == 47
    assert results.count("answer" if outcome == "good" else "OSError") == 3
    expected = BreakerState.CLOSED if outcome == "good" else BreakerState.OPEN
    assert state_of(breaker) is expected
    assert [t.after for t in transitions] == [
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
        expected,
    ]


async def _outcome(call: object) -> str:
    try:
        return await call  # type: ignore[misc, no-any-return]
    except (BreakerOpenError, OSError) as error:
        return type(error).__name__


async def test_a_probe_that_is_cancelled_gives_its_place_to_another() -> None:
    """An impatient caller in half-open neither closes nor opens it, and does not wedge it."""
    breaker, clock, _ = make()
    await open_it(breaker)
    clock.now += CONFIG.open_s
    probes = [asyncio.create_task(breaker.call(asyncio.Event().wait)) for _ in range(3)]
    await asyncio.sleep(0)
    assert breaker.refusing
    for probe in probes:
        probe.cancel()
    await asyncio.gather(*probes, return_exceptions=True)

    assert state_of(breaker) is BreakerState.HALF_OPEN
    for _ in range(3):
        await breaker.call(good)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_calls_that_are_cancelled_after_long_count_as_failures() -> None:
    """A hang is seen though every caller leaves before any timeout."""
    breaker, clock, _ = make()
    for _ in range(CONFIG.minimum_calls):
        call = asyncio.create_task(breaker.call(asyncio.Event().wait))
        await asyncio.sleep(0)
        clock.now += CONFIG.slow_call_s
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    assert state_of(breaker) is BreakerState.OPEN


async def test_a_call_from_before_the_outage_decides_nothing_after_it() -> None:
    """A late failure of a call that began in closed state does not fail the probes."""
    breaker, clock, _ = make()
    old = breaker.acquire()
    await open_it(breaker)
    clock.now += CONFIG.open_s
    await breaker.call(good)
    breaker.failed(old)
    await breaker.call(good)
    await breaker.call(good)

    assert state_of(breaker) is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("window", 0),
        ("minimum_calls", 0),
        ("half_open_calls", 0),
        ("failure_rate", 0.0),
        ("slow_call_rate", 1.1),
        ("slow_call_s", 0.0),
        ("open_s", -1.0),
    ],
)
def test_a_config_that_could_never_work_is_refused(field_name: str, value: float) -> None:
    """The error names the field, its value and its bounds."""
    with pytest.raises(ValueError, match=rf"{field_name}={value} must be"):
        BreakerConfig(**{"slow_call_s": 1.0, field_name: value})  # type: ignore[arg-type]
