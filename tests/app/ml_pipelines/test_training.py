"""What is learned from the watch history: better than popularity, and the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest

from app.ml_pipelines.artefact import deployed, load
from app.ml_pipelines.history import END, MAX_WATCHES, MIN_WATCHES, build_history, genre
from app.ml_pipelines.training import fit, hit_rate, matrix, measure, train, train_seeded
from app.seed.world import build_world
from tests.app.system import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from app.ml_pipelines.artefact import Model

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = build_history(build_world())


def test_history_is_plausible() -> None:
    """Everybody has watched some videos, none twice or before it was there, in order; every video was watched."""
    world = build_world()
    videos = {video.id: video for video in world.videos}
    watches = build_history(world)
    by_user = {user.id: [w for w in watches if w.user_id == user.id] for user in world.users}

    assert {watch.user_id for watch in watches} == {user.id for user in world.accounts}
    assert {watch.video_id for watch in watches} == set(videos)
    for own in by_user.values():
        assert MIN_WATCHES <= len(own) <= MAX_WATCHES
        assert len({watch.video_id for watch in own}) == len(own)
        assert all(one.watched_at <= other.watched_at for one, other in pairwise(own))
    for watch in watches:
        video = videos[watch.video_id]
        assert video.published_at <= watch.watched_at <= END
        assert 1 <= watch.watched_s <= video.duration_s


def test_history_has_taste() -> None:
    """Most of what somebody watches is of two of the five genres, as chance alone would not make it."""
    world = build_world()
    videos = {video.id: video for video in world.videos}
    of_two = []
    for user in world.listeners[:200]:
        seen = Counter(genre(videos[w.video_id]) for w in HISTORY if w.user_id == user.id)
        of_two.append(sum(count for _, count in seen.most_common(2)) / seen.total())

    assert np.mean(of_two) > 0.8


def test_history_is_the_same_each_time() -> None:
    """One seed makes one history, another seed another."""
    world = build_world()

    assert build_history(world) == HISTORY
    assert build_history(world, 1) != HISTORY


def test_beats_popularity(model: Model) -> None:
    """Of everybody's newest watch, unseen in training, the model finds more than twice as many as popularity."""
    figures = model.figures

    assert figures["users"] == 1100
    assert figures["items"] == 120
    assert figures["popularity_hit_at_10"] > 1.5 * 10 / 120  # no straw man: better than chance
    assert figures["hit_at_10"] >= 2 * figures["popularity_hit_at_10"]
    assert figures["hit_at_10"] > 0.4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_beats_popularity_in_other_worlds(seed: int) -> None:
    """That does not hang on one lucky history."""
    figures = train_seeded(NOW, seed).figures

    assert figures["hit_at_10"] >= 2 * figures["popularity_hit_at_10"]


def test_without_structure_it_does_not() -> None:
    """The measurement gives nothing away: where all watch at random, the model is no better than chance."""
    dice = np.random.default_rng(7)
    histories = [dice.permutation(120)[:16].tolist() for _ in range(1100)]

    assert measure(histories, 120).hit_at_10 < 0.15


def test_weights_are_those_of_the_closed_form() -> None:
    """The weights minimise the squared error under an empty diagonal: moving any of them makes it worse."""
    dice = np.random.default_rng(3)
    seen = (dice.random((40, 6)) < 0.4).astype(float)

    def loss(weights: np.ndarray) -> float:
        return float(((seen - seen @ weights) ** 2).sum() + 5.0 * (weights**2).sum())

    weights = fit(seen, 5.0)

    assert not np.diag(weights).any()
    for i in range(6):
        for j in range(6):
            for step in (-0.01, 0.01):
                moved = weights.copy()
                moved[i, j] += step
                assert i == j or loss(moved) > loss(weights)


def test_hit_rate_counts_only_real_hits() -> None:
    """What was seen does not stand in the way, and a score that is the same for all finds nothing."""
    seen = matrix([(0, 0), (1, 1)], 2, 4)
    scores = np.array([[9.0, 3.0, 2.0, 1.0], [1.0, 9.0, 3.0, 2.0]])
    held_out = np.array([1, 0])

    assert hit_rate(lambda _: scores, seen, held_out, 1) == 0.5
    assert hit_rate(lambda _: scores, seen, held_out, 3) == 1.0
    assert hit_rate(lambda _: np.ones((2, 4)), seen, held_out, 2) == 0.0


def test_foreign_videos_are_refused() -> None:
    """A history that does not fit the catalogue trains nothing."""
    watch = replace(HISTORY[0], video_id=uuid4())

    with pytest.raises(ValueError, match="not in the catalogue of 1"):
        train([watch], ["other"], NOW)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """Two processes, one with one thread and one with four, write the same arrays; set-up can rest on it."""
    for threads in ("1", "4"):
        done = subprocess.run(
            [sys.executable, "-m", "app.ml_pipelines.training", "--out", tmp_path / threads],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "hit@10 0." in done.stdout

    one, other = (load(tmp_path / threads, now=datetime.now(UTC)) for threads in ("1", "4"))
    assert one.version == other.version == deployed(tmp_path / "1").last_good
    assert one.figures == other.figures
    arrays = [(tmp_path / n / f"recommendations-{one.version}.npz").read_bytes() for n in "14"]
    assert arrays[0] == arrays[1]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """The command says in one line what is wrong, and exits with 2."""
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "app.ml_pipelines.training", "--out", tmp_path / "file" / "x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "name a folder that can be written" in done.stderr
