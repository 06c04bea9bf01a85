"""How much a ratio of two latency quantiles may be worth: a block bootstrap.

A p95 of milliseconds on a shared machine is noisy, and its noise comes in bursts: one stall slows all that arrive
during it. Arrivals are therefore drawn in blocks of a second, whole, so that a burst counts as one event and not as a
hundred (moving blocks: Künsch 1989; here they do not overlap, Carlstein 1986).
"""

from __future__ import annotations

import numpy as np

from chaos.model.slo import Interval

BLOCK_S = 1.0
DRAWS = 600
MIN_BLOCKS = 5
"""Below this many blocks a side, drawing them again shows little of what could have been."""
SEED = 20_240_601


def ratio_interval(
    now: tuple[np.ndarray, np.ndarray], base: tuple[np.ndarray, np.ndarray], quantile: float
) -> Interval | None:
    """Return the 95 % interval of quantile(now) / quantile(base), or None when a side has too few blocks.

    Each side is (due_s, latency_ms) of its arrivals, in any order. Latencies may be infinite (never answered); the
    baseline's own quantile must be finite and above 0. The same arrivals always give the same interval.
    """
    sides = [_blocks(*side) for side in (now, base)]
    if min(len(blocks) for blocks in sides) < MIN_BLOCKS:
        return None
    rng = np.random.default_rng(SEED)
    draws_now, draws_base = (_draw(blocks, quantile, rng) for blocks in sides)
    ratios = draws_now / draws_base
    low, high = np.quantile(ratios, (0.025, 0.975), method="nearest")
    estimate = quantile_ms(now[1], quantile) / quantile_ms(base[1], quantile)
    return Interval(estimate, float(min(low, estimate)), float(max(high, estimate)))


def _blocks(due_s: np.ndarray, latency_ms: np.ndarray) -> list[np.ndarray]:
    number = np.floor((due_s - due_s.min(initial=np.inf)) / BLOCK_S).astype(int)
    return [latency_ms[number == k] for k in np.unique(number)]


def _draw(blocks: list[np.ndarray], quantile: float, rng: np.random.Generator) -> np.ndarray:
    picks = rng.integers(0, len(blocks), (DRAWS, len(blocks)))
    return np.array(
        [quantile_ms(np.concatenate([blocks[k] for k in pick]), quantile) for pick in picks]
    )


def quantile_ms(values: np.ndarray, quantile: float) -> float:
    """Return the value that `quantile` of `values` do not exceed; one that was measured, never between two."""
    return float(np.quantile(values, quantile, method="higher"))
