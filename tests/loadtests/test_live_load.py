"""Claims about the load for people: an endless schedule, and a memory of the last seconds."""

from __future__ import annotations

from itertools import pairwise, takewhile

import numpy as np

from chaos.model.schedule import Due
from loadtests.endless import endless
from loadtests.outcome import Outcome, timed_out
from loadtests.recent import Recent

MIX = (("browse", 1.0), ("view", 3.0))


def until(end_s: float, rates: list[float]) -> list[Due]:
    """Return what is due before `end_s` when each second asks for its own rate."""
    asked = iter(rates)
    return list(takewhile(lambda d: d.due_s < end_s, endless(lambda: next(asked), MIX, 7)))


def test_the_rate_can_be_changed_while_it_runs() -> None:
    """Each second has the rate that was asked when it began; numbers and times only go up."""
    due = until(40, [50.0] * 20 + [200.0] * 21)
    first = sum(d.due_s < 20 for d in due)

    assert abs(first - 1_000) < 120
    assert abs(len(due) - first - 4_000) < 240
    assert [d.n for d in due] == list(range(len(due)))
    assert all(a.due_s <= b.due_s for a, b in pairwise(due))


def test_its_arrivals_are_poisson_and_repeatable() -> None:
    """Gaps spread as a Poisson process does over the seams of the seconds too, and a seed gives the same again."""
    due = until(100, [100.0] * 101)
    gaps = np.diff([d.due_s for d in due])

    assert 0.95 < gaps.std() / gaps.mean() < 1.05
    assert due == until(100, [100.0] * 101)


def test_a_rate_of_nothing_still_comes_to_an_end() -> None:
    """A rate of 0 or below is one a second: the schedule always yields, so the page stays alive."""
    assert 1 <= len(until(30, [0.0, -5.0] * 20)) < 90


def test_the_last_seconds_are_counted_and_older_ones_forgotten() -> None:
    """What ended more than ten seconds ago is gone; what is in flight is known; dropped has no send lag."""
    now = [100.0]
    recent = Recent(clock=lambda: now[0])
    due = Due(0, 1.0, "browse", "live", 0)
    for outcome in (Outcome("ok", 200), timed_out("client limit")):
        recent.begin(due, 1.004, "id")
        recent.end(due, 1.004, 1.1, outcome)
    recent.begin(due, 1.0, "id")
    recent.drop(due)

    assert recent.classes() == {"ok": 1, "timeout": 1, "dropped": 1}
    assert recent.in_flight == 1
    lag = recent.send_lag_p99_ms()
    assert lag is not None
    assert round(lag) == 4
    now[0] += 11
    assert not recent.classes()
    assert recent.send_lag_p99_ms() is None
