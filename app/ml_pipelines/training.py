"""Learns which videos go together: EASE, a linear item model with a closed form (Steck 2019, arXiv:1905.03375).

`python -m app.ml_pipelines.training --out DIR` trains on the seeded world's history, measures the model against
popularity on watches that it has not seen, and writes the artefact; a second or two in all.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.ml_pipelines.artefact import Model, deploy, write
from app.ml_pipelines.history import SEED, build_history
from app.seed.world import build_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from app.ml_pipelines.history import Watch

    Floats = npt.NDArray[np.float64]

# How much a pair of videos must have in common before it counts; the best of a search from 10 to 1000 by thirds.
REGULARISATION = 100.0
HIT_AT = 10
# Weights keep so many decimals: far fewer than another BLAS would change, so that every machine makes the same bytes.
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured: of everybody's newest watch, which share stands among the ten that were recommended."""

    users: int
    items: int
    watches: int
    hit_at_10: float
    popularity_hit_at_10: float

    def as_dict(self) -> dict[str, float]:
        """Return them for the artefact's metadata."""
        return {
            "users": self.users,
            "items": self.items,
            "watches": self.watches,
            "hit_at_10": round(self.hit_at_10, 4),
            "popularity_hit_at_10": round(self.popularity_hit_at_10, 4),
        }


def fit(seen: Floats, regularisation: float = REGULARISATION) -> Floats:
    """Return the item-to-item weights of `seen` (users by items, 1 where watched); the diagonal is zero.

    Row i says what having watched item i means for each other one.
    """
    gram = seen.T @ seen + regularisation * np.eye(seen.shape[1])
    precision = np.linalg.inv(gram)
    weights: Floats = precision / -np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return weights


def matrix(watches: Iterable[tuple[int, int]], users: int, items: int) -> Floats:
    """Return users by items with 1 where (user, item) was watched."""
    seen = np.zeros((users, items))
    for user, item in watches:
        seen[user, item] = 1.0
    return seen


def hit_rate(
    score: Callable[[Floats], Floats], seen: Floats, held_out: npt.NDArray[np.int64], at: int
) -> float:
    """Return which share of users have their held-out item among the best `at` that they have not seen."""
    scores = score(seen).copy()
    scores[seen > 0] = -np.inf
    own = scores[np.arange(len(held_out)), held_out]
    # As many as score higher stand before it; equals count as before, so that a constant score hits nothing.
    before = (scores >= own[:, None]).sum(axis=1) - 1
    return float((before < at).mean())


def train(watches: Sequence[Watch], items: Sequence[str], created_at: datetime) -> Model:
    """Return the model of all `watches`, with figures of one that has not seen anybody's newest watch.

    Raises ValueError when somebody has watched what is not among `items`.
    """
    known = {item: n for n, item in enumerate(items)}
    by_user: dict[str, list[int]] = {}
    for watch in sorted(watches, key=lambda watch: (watch.user_id, watch.watched_at)):
        item = known.get(str(watch.video_id))
        if item is None:
            raise ValueError(
                f"video {watch.video_id} was watched and is not in the catalogue of {len(items)}; train on both anew"
            )
        by_user.setdefault(str(watch.user_id), []).append(item)
    histories = list(by_user.values())
    seen = _seen(histories, len(items))
    weights = np.round(fit(seen), DECIMALS).astype(np.float32)
    popularity = (seen.sum(axis=0) / max(len(histories), 1)).astype(np.float32)
    figures = measure(histories, len(items))
    return Model.of(tuple(items), weights, popularity, created_at, figures.as_dict())


def measure(histories: Sequence[Sequence[int]], items: int) -> Figures:
    """Return how well a model guesses the last of each history from the rest, and how well popularity does."""
    kept = [history[:-1] for history in histories if len(history) > 1]
    held_out = np.array([history[-1] for history in histories if len(history) > 1], dtype=np.int64)
    seen = _seen(kept, items)
    weights, popularity = fit(seen), seen.sum(axis=0)
    return Figures(
        users=len(histories),
        items=items,
        watches=sum(map(len, histories)),
        hit_at_10=hit_rate(lambda rows: rows @ weights, seen, held_out, HIT_AT),
        popularity_hit_at_10=hit_rate(
            lambda rows: np.broadcast_to(popularity, rows.shape), seen, held_out, HIT_AT
        ),
    )


def train_seeded(created_at: datetime, seed: int = SEED) -> Model:
    """Return the model of the seeded world."""
    world = build_world()
    return train(build_history(world, seed), [str(video.id) for video in world.videos], created_at)


def _seen(histories: Sequence[Sequence[int]], items: int) -> Floats:
    pairs = ((user, item) for user, history in enumerate(histories) for item in history)
    return matrix(pairs, len(histories), items)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write and deploy; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m app.ml_pipelines.training", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of the artefacts")
    parser.add_argument("--seed", type=int, default=SEED, help="of the watch history")
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    model = train_seeded(datetime.now(UTC), given.seed)
    try:
        write(given.out, model)
        deploy(given.out, model.version, good=True)
    except OSError as error:
        sys.stderr.write(
            f"--out {given.out}: {error.strerror}; name a folder that can be written\n"
        )
        return 2
    figures = model.figures
    sys.stdout.write(
        f"model {model.version}: {figures['items']:.0f} items from {figures['watches']:.0f} watches, "
        f"hit@10 {figures['hit_at_10']:.3f} (popularity {figures['popularity_hit_at_10']:.3f}), "
        f"{time.perf_counter() - began:.1f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
