"""The sliding window counter against a simple model on a virtual clock, and its promises one by one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core.resilience.rate_limit import MICROSECONDS, Decision, Limit, LocalLimiter

LIMIT = Limit("test", 5, 10.0)
KEYS = ("a", "b")
# 0 to two and a half periods, in steps that fall on and beside the edges of windows.
STEPS_US = st.one_of(
    st.integers(0, 25_000_000), st.sampled_from([0, 1, 999_999, 5_000_000, 10_000_000])
)


class Clock:
    """Time that moves only when told to, in whole microseconds."""

    def __init__(self) -> None:
        self.now_us = 100 * MICROSECONDS

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_us / MICROSECONDS


class Model:
    """The specification, slow and obvious: the time of every hit that was counted, counted anew each time."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.hits_us: list[int] = []

    def weight(self, now_us: int) -> Fraction:
        """Return how many hits count at this time: those of this window, and a share of the one before."""
        period_us = self.limit.period_us
        window = now_us // period_us
        share = 1 - Fraction(now_us % period_us, period_us)
        current = sum(hit // period_us == window for hit in self.hits_us)
        return current + share * sum(hit // period_us == window - 1 for hit in self.hits_us)

    def allows(self, now_us: int, ahead: int = 0) -> bool:
        """Whether one more hit is allowed after `ahead` others."""
        return self.weight(now_us) + ahead + 1 <= self.limit.count


class LimiterMachine(RuleBasedStateMachine):
    """Random hits at random times; limiter and model never disagree."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.limiter = LocalLimiter(len(KEYS), self.clock)
        self.models = {key: Model(LIMIT) for key in KEYS}

    @rule(step_us=STEPS_US)
    def wait(self, step_us: int) -> None:
        """Let time pass."""
        self.clock.now_us += step_us

    @rule(key=st.sampled_from(KEYS))
    def hit(self, key: str) -> None:
        """Hit once."""
        expected = self.models[key].allows(self.clock.now_us)
        decision = self.limiter.hit(key, LIMIT)
        assert decision.allowed == expected
        if expected:
            self.models[key].hits_us.append(self.clock.now_us)
        self.check_wait(key, decision)

    @rule(key=st.sampled_from(KEYS), ahead=st.integers(0, LIMIT.count))
    def peek(self, key: str, ahead: int) -> None:
        """Ask without counting."""
        expected = self.models[key].allows(self.clock.now_us, ahead)
        decision = self.limiter.peek(key, LIMIT, ahead=ahead)
        assert decision.allowed == expected
        assert decision.allowed == (decision.retry_after_s == 0)

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: str) -> None:
        """Begin anew."""
        self.limiter.forget(key)
        self.models[key].hits_us.clear()

    @invariant()
    def peeking_agrees(self) -> None:
        """What the next hit would hear is known for each key at each moment."""
        for key, model in self.models.items():
            decision = self.limiter.peek(key, LIMIT)
            assert decision.allowed == model.allows(self.clock.now_us)
            self.check_wait(key, decision)

    def check_wait(self, key: str, decision: Decision) -> None:
        """The wait is exact: allowed at its end, and not a microsecond before."""
        wait_us = round(decision.retry_after_s * MICROSECONDS)
        assert self.models[key].allows(self.clock.now_us + wait_us)
        assert wait_us == 0 or not self.models[key].allows(self.clock.now_us + wait_us - 1)


TestLimiterAgainstModel = LimiterMachine.TestCase
TestLimiterAgainstModel.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None
)


def hits_of(limiter: LocalLimiter, clock: Clock, steps_us: list[int]) -> list[int]:
    """Hit after each step; return when hits were allowed."""
    allowed = []
    for step_us in steps_us:
        clock.now_us += step_us
        if limiter.hit("a", LIMIT).allowed:
            allowed.append(clock.now_us)
    return allowed


@given(st.lists(st.integers(0, 3_000_000), min_size=20, max_size=120))
@hypothesis_settings(max_examples=60, deadline=None)
def test_no_pace_of_hits_gets_more_through_than_promised(steps_us: list[int]) -> None:
    """Any period sees fewer than twice the count, and n periods together at most n + 1 times the count."""
    clock = Clock()
    hits_us = hits_of(LocalLimiter(1, clock), clock, steps_us)

    for begin_us in hits_us:
        within = [hit for hit in hits_us if begin_us <= hit < begin_us + LIMIT.period_us]
        assert len(within) < 2 * LIMIT.count
    if hits_us:
        periods = (hits_us[-1] - hits_us[0]) // LIMIT.period_us + 1
        assert len(hits_us) <= LIMIT.count * (periods + 1)


def test_the_last_allowed_hit_says_how_long_the_next_must_wait() -> None:
    """Whoever counts the last hit knows that the limit is reached, without asking again."""
    limiter = LocalLimiter(1, Clock())
    decisions = [limiter.hit("a", LIMIT) for _ in range(6)]

    assert [d.allowed for d in decisions] == [True] * 5 + [False]
    assert [d.retry_after_s > 0 for d in decisions] == [False] * 4 + [True, True]


def test_refused_hits_are_not_counted() -> None:
    """Who keeps trying while refused is let in as soon as who waited."""
    clock = Clock()
    stubborn, patient = LocalLimiter(1, clock), LocalLimiter(1, clock)
    for _ in range(5):
        stubborn.hit("a", LIMIT)
        patient.hit("a", LIMIT)
    for _ in range(1000):
        assert not stubborn.hit("a", LIMIT).allowed

    assert stubborn.peek("a", LIMIT) == patient.peek("a", LIMIT)


def test_the_limiter_is_bounded_and_forgets_the_least_recently_used() -> None:
    """A flood of keys takes no more memory, and a key in use outlives it."""
    limiter = LocalLimiter(100, Clock())
    for _ in range(5):
        limiter.hit("victim", LIMIT)
    for number in range(10_000):
        limiter.hit(f"key {number}", LIMIT)
        assert not limiter.peek("victim", LIMIT).allowed

    assert len(limiter) == 100
    assert limiter.peek("key 0", LIMIT).allowed


def test_asking_remembers_nothing() -> None:
    """Questions about names that somebody made up push nothing out."""
    limiter = LocalLimiter(1, Clock())
    limiter.hit("a", LIMIT)
    for number in range(100):
        limiter.peek(f"key {number}", LIMIT)

    assert len(limiter) == 1
    assert limiter.peek("a", LIMIT, ahead=4).allowed is False


def test_a_clock_that_goes_back_forgives_nothing() -> None:
    """Hits count on until the clock has caught up."""
    clock = Clock()
    limiter = LocalLimiter(1, clock)
    for _ in range(5):
        limiter.hit("a", LIMIT)
    clock.now_us -= 50 * MICROSECONDS

    assert not limiter.hit("a", LIMIT).allowed


@pytest.mark.parametrize(("count", "period_s"), [(0, 1.0), (1, 0.0), (-1, 1.0), (1, -1.0)])
def test_a_limit_that_allows_nothing_is_refused(count: int, period_s: float) -> None:
    """It would lock everybody out for ever."""
    with pytest.raises(ValueError, match=r"limit odd: .* expected at least 1"):
        Limit("odd", count, period_s)


def test_a_limiter_without_room_is_refused() -> None:
    """It would count nothing."""
    with pytest.raises(ValueError, match="max_keys=0 must be at least 1"):
        LocalLimiter(0)
