"""Who of the seeded world has watched what: the same everywhere, and with the structure that a model can learn.

Everybody likes two genres, one of them more, and how something is done (drawn, cooked, built) as well as what it is
about. Beside that they watch what many watch, and now and then anything at all. How much each of these counts is set
so that the most watched videos alone are a poor guess, as on a real platform, and a person's own past a good one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from app.seed.world import SeedUser, SeedVideo, World

SEED = 20_240_301
END = datetime(2025, 12, 31, 21, tzinfo=UTC)
"""After the last video was published; nothing is watched later."""

MIN_WATCHES = 8
MAX_WATCHES = 30

GENRES: dict[str, tuple[str, ...]] = {
    "workshop": ("an old bicycle wheel", "a walnut chair", "a paper kite", "hand-cut type"),
    "kitchen": ("wild garlic", "sourdough in winter", "tomato seedlings", "a rooftop garden"),
    "journeys": ("the night tram", "the last ferry", "slow trains", "lighthouses"),
    "nature": ("river ice", "alpine swifts", "autumn storms", "granite arches"),
    "curiosities": ("the tide clock", "a tube radio", "a box camera", "mosaic floors"),
}
_GENRE_OF = {subject: genre for genre, subjects in GENRES.items() for subject in subjects}

# Weights by which a video is chosen, against 1 for one that nothing speaks for.
_FIRST_GENRE = 30.0
_SECOND_GENRE = 9.0
_FAVOURITE_MANNER = 4.0
# Of how often all have seen a video only so much is passed on to those who have a taste.
_POPULARITY = 0.4


@dataclass(frozen=True, slots=True)
class Watch:
    """Somebody has watched a video once, for `watched_s` of its seconds."""

    user_id: UUID
    video_id: UUID
    watched_at: datetime
    watched_s: int


@dataclass(frozen=True, slots=True)
class _Offer:
    """A video, and what speaks for it."""

    video: SeedVideo
    genre: str
    manner: str
    pull: float


@dataclass(frozen=True, slots=True)
class _Taste:
    """What somebody likes: two genres, the first one more, and one manner (the first word of a title)."""

    first: str
    second: str
    manner: str

    def appeal(self, offer: _Offer) -> float:
        """Return how much heavier than others a video weighs."""
        weight = offer.pull
        if offer.genre == self.first:
            weight *= _FIRST_GENRE
        elif offer.genre == self.second:
            weight *= _SECOND_GENRE
        return weight * _FAVOURITE_MANNER if offer.manner == self.manner else weight


def build_history(world: World, seed: int = SEED) -> tuple[Watch, ...]:
    """Return what all who can log in have watched: account by account, each from the oldest to the newest.

    Nobody watches a video twice, before it was published, or after `END`.
    """
    dice = random.Random(seed)  # noqa: S311  reproducible on purpose
    offers = tuple(
        _Offer(video, genre(video), _manner(video), math.pow(max(video.views, 1), _POPULARITY))
        for video in world.videos
    )
    manners = sorted({offer.manner for offer in offers})
    return tuple(
        watch
        for user in world.accounts
        for watch in _watches(user, _taste(dice, manners), offers, dice)
    )


def genre(video: SeedVideo) -> str:
    """Return the genre of what a video is about. Raises StopIteration for a title that is not of the seeded world."""
    return next(_GENRE_OF[subject] for subject in _GENRE_OF if video.title.endswith(f" {subject}"))


def _manner(video: SeedVideo) -> str:
    return video.title.split(" ", 1)[0]


def _taste(dice: random.Random, manners: list[str]) -> _Taste:
    first, second = dice.sample(sorted(GENRES), 2)
    return _Taste(first, second, dice.choice(manners))


def _watches(
    user: SeedUser, taste: _Taste, offers: tuple[_Offer, ...], dice: random.Random
) -> list[Watch]:
    """Draw videos without putting any back, each by its weight (Efraimidis and Spirakis), and when they were seen."""
    count = min(MAX_WATCHES, max(MIN_WATCHES, round(dice.gauss(16, 5))))
    # 1 - random() is never 0.
    keys = [
        (math.log(1.0 - dice.random()) / taste.appeal(offer), n) for n, offer in enumerate(offers)
    ]
    chosen = [offers[n].video for _, n in sorted(keys, reverse=True)[:count]]
    watches = [_watch(user, video, dice) for video in chosen]
    return sorted(watches, key=lambda watch: (watch.watched_at, watch.video_id))


def _watch(user: SeedUser, video: SeedVideo, dice: random.Random) -> Watch:
    watched_at = video.published_at + (END - video.published_at) * dice.random()
    # Most see a video to its end, some leave early.
    share = min(1.0, dice.betavariate(4.0, 1.2))
    return Watch(
        user.id,
        video.id,
        watched_at.replace(microsecond=0),
        max(1, round(share * video.duration_s)),
    )
