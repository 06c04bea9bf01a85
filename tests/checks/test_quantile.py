"""The interval of a ratio of quantiles: covers the truth, and knows when it knows little."""

from __future__ import annotations

import numpy as np

from chaos.checks.quantile import ratio_interval


def side(
    rng: np.random.Generator, seconds: int, scale: float, burst: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Make 200 arrivals a second; each second's latencies share a factor of up to `burst`."""
    due_s = np.sort(rng.uniform(0, seconds, seconds * 200))
    factor = rng.uniform(1, burst, seconds)[due_s.astype(int)]
    return due_s, rng.gamma(2, scale, len(due_s)) * factor


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    """Of 60 runs that are truly 1.3 times slower at least 50 intervals hold 1.3, bursts within seconds included."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(60):
        interval = ratio_interval(
            side(rng, 17, 1.3, burst=1.5), side(rng, 17, 1.0, burst=1.5), 0.95
        )
        assert interval is not None
        held += interval.low <= 1.3 <= interval.high
    assert held >= 50


def test_bursts_make_the_interval_wide() -> None:
    """Stalls that slow whole seconds leave the ratio less certain than the same number of calm arrivals."""
    rng = np.random.default_rng(11)
    calm = ratio_interval(side(rng, 17, 1.0), side(rng, 8, 1.0), 0.95)
    noisy = ratio_interval(side(rng, 17, 1.0, burst=6), side(rng, 8, 1.0, burst=6), 0.95)
    assert calm is not None
    assert noisy is not None
    assert noisy.high - noisy.low > 2 * (calm.high - calm.low)


def test_few_seconds_give_no_interval() -> None:
    """With fewer than five seconds on a side the noise between seconds cannot be known."""
    rng = np.random.default_rng(3)
    assert ratio_interval(side(rng, 17, 1.0), side(rng, 4, 1.0), 0.95) is None


def test_the_same_arrivals_give_the_same_interval() -> None:
    """Judging twice gives one answer: the draws are seeded."""
    rng = np.random.default_rng(5)
    now, base = side(rng, 10, 1.0), side(rng, 10, 1.0)
    assert ratio_interval(now, base, 0.95) == ratio_interval(now, base, 0.95)


def test_arrivals_that_were_never_answered_make_the_ratio_infinite() -> None:
    """When over one in twenty got no answer the p95 is beyond any limit, and so is the interval."""
    rng = np.random.default_rng(9)
    due_s, latency_ms = side(rng, 10, 1.0)
    latency_ms[::5] = np.inf
    interval = ratio_interval((due_s, latency_ms), side(rng, 10, 1.0), 0.95)
    assert interval is not None
    assert np.isinf(interval.low)
