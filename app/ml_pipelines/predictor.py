"""What a model says to histories: pure numbers, and work on purpose where a machine is to be kept busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.ml_pipelines.protocol import MAX_K, PADDING, Reason, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from app.ml_pipelines.artefact import Model
    from app.ml_pipelines.protocol import Asked

    Floats = npt.NDArray[np.float32]

# One unit of extra work takes about 1 ms of one core of a laptop, without the interpreter's lock.
_UNIT = 1 << 16


class GaveUpError(Exception):
    """The time was over before the work was done."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Items, best first, with their scores: a row a user.

    `known` is how many items of each history the model knew and counted; 0 says that the answer is not personal.
    """

    items: tuple[tuple[str, ...], ...]
    scores: Floats
    known: tuple[int, ...]


def predict(model: Model, asked: Asked) -> Prediction:
    """Return `k` items a user: first what they have not watched, best first; what they have only when that is too few.

    Without a history it is what most have watched. Raises RequestError when `k` is more than there are items, or when
    a history has items and the model knows none: then caller and model speak of different catalogues.
    """
    index = model.index
    if len(model.items) < asked.k and model.items:
        raise RequestError(
            Reason.BAD_TENSOR,
            f"k must be at most {min(MAX_K, len(model.items))}, the items there are",
        )
    rows = np.zeros((len(asked.histories), model.weights.shape[0]), np.float32)
    known = []
    for n, history in enumerate(asked.histories):
        weights = asked.weights[n] if asked.weights else (1.0,) * len(history)
        places = [
            (index[item], w) for item, w in zip(history, weights, strict=True) if item in index
        ]
        if not places and model.items and any(item != PADDING for item in history):
            raise RequestError(
                Reason.UNKNOWN_ITEMS, f"version {model.version} knows no item of history {n}"
            )
        for place, weight in places:
            rows[n, place] = max(rows[n, place], weight)
        known.append(int(np.count_nonzero(rows[n])))
    scores = rows @ model.weights
    for n, count in enumerate(known):
        if not count:
            scores[n] = model.popularity
    return _best(model, asked, scores, tuple(known))


def _best(model: Model, asked: Asked, scores: Floats, known: tuple[int, ...]) -> Prediction:
    """Pick the best. Of a model that nobody checked there may be fewer columns than items, or none."""
    columns = scores.shape[1]
    k = min(asked.k, columns, len(model.items))
    seen = np.zeros(scores.shape, dtype=bool)
    for n, history in enumerate(asked.histories):
        places = [model.index[item] for item in history if item in model.index]
        seen[n, [place for place in places if place < columns]] = True
    # Equal scores stand in the order of the catalogue, so that the same question has the same answer.
    order = np.lexsort((-scores, seen), axis=-1)[:, :k]
    items = tuple(tuple(model.items[place] for place in row) for row in order.tolist())
    return Prediction(items, np.take_along_axis(scores, order, axis=1), known)


def work(units: int, over: Callable[[], bool]) -> None:
    """Keep one core busy for `units`, to be a bottleneck where one is wanted. Raises GaveUpError once `over()`."""
    values = np.linspace(0.0, 1.0, _UNIT)
    for _ in range(units):
        if over():
            raise GaveUpError
        np.sin(values, out=values)
