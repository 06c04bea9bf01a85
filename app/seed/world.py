"""What the seeded world holds: the same on every machine and in every run, and plausible in its proportions."""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, UUID, uuid5

USERS = 50
VIDEOS = 120
CREATORS = 12
LISTENERS = 1000
VISITORS = 50
RECORDING_S = 6
# The first is meant to be live: the origin starts it when somebody watches.
CHANNELS = (("demo", True), ("studio", False))
PASSWORD = "socialflow-demo-password"  # noqa: S105 - of accounts that exist only where the seed ran
_SEED = 20_240_229
_NAMESPACE = uuid5(NAMESPACE_URL, "https://socialflow.example/seed")
_FIRST_DAY = datetime(2024, 1, 1, 9, tzinfo=UTC)
_SPAN = timedelta(days=600)
# The most viewed video; the others follow Zipf's law, as audiences of real platforms do.
_TOP_VIEWS = 480_000
_ZIPF_EXPONENT = 1.15

_TRAITS = (
    "quiet",
    "amber",
    "northern",
    "velvet",
    "hidden",
    "swift",
    "copper",
    "distant",
    "paper",
    "lunar",
)
_THINGS = ("harbour", "meadow", "lantern", "orchard", "compass")
_ACTIONS = (
    "Repairing",
    "Drawing",
    "Cooking with",
    "Photographing",
    "A short history of",
    "Building",
)
_SUBJECTS = (
    "an old bicycle wheel",
    "wild garlic",
    "the night tram",
    "a walnut chair",
    "lighthouses",
    "a paper kite",
    "river ice",
    "the tide clock",
    "sourdough in winter",
    "alpine swifts",
    "a tube radio",
    "mosaic floors",
    "the last ferry",
    "tomato seedlings",
    "a box camera",
    "granite arches",
    "a rooftop garden",
    "slow trains",
    "hand-cut type",
    "autumn storms",
)


@dataclass(frozen=True, slots=True)
class SeedUser:
    """An account. Its password is `PASSWORD`."""

    id: UUID
    username: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class SeedVideo:
    """A published video with the views that it has already got. `hue` colours its thumbnail."""

    id: UUID
    owner_id: UUID
    title: str
    description: str
    duration_s: int
    published_at: datetime
    views: int
    hue: float


@dataclass(frozen=True, slots=True)
class SeedChannel:
    """A live channel. Its last recording is one of its owner's videos."""

    id: UUID
    name: str
    owner_id: UUID
    live: bool
    recording_id: UUID


@dataclass(frozen=True, slots=True)
class World:
    """Everything that is seeded.

    `users` made the videos and live in them. The other two are many, for logins under load: listeners have
    confirmed two-factor authentication, visitors have a password alone.
    """

    users: tuple[SeedUser, ...]
    videos: tuple[SeedVideo, ...]
    listeners: tuple[SeedUser, ...]
    visitors: tuple[SeedUser, ...]
    channels: tuple[SeedChannel, ...]

    @property
    def accounts(self) -> tuple[SeedUser, ...]:
        """Return all who can log in."""
        return self.users + self.listeners + self.visitors


def build_world() -> World:
    """Return the world. Ids are derived from names, so that other tools can know them without asking."""
    dice = random.Random(_SEED)  # noqa: S311  reproducible on purpose
    users = tuple(_user(n) for n in range(USERS))
    creators = [user for user in users if user.role == "creator"]
    titles = [f"{action} {subject}" for action in _ACTIONS for subject in _SUBJECTS]
    dice.shuffle(titles)
    ranks = list(range(1, VIDEOS + 1))
    dice.shuffle(ranks)
    videos = [
        _video(n, titles[n], ranks[n], creators[dice.randrange(len(creators))], dice)
        for n in range(VIDEOS)
    ]
    channels = tuple(
        _channel(name, owner, videos, live=live)
        for (name, live), owner in zip(CHANNELS, reversed(creators), strict=False)
    )
    listeners = tuple(_viewer(f"listener-{n:04}") for n in range(LISTENERS))
    visitors = tuple(_viewer(f"visitor-{n:02}") for n in range(VISITORS))
    return World(users, tuple(videos), listeners, visitors, channels)


def totp_secret(username: str) -> str:
    """Return the two-factor secret of a listener, in base32; 20 bytes need no padding."""
    digest = hashlib.sha256(b"socialflow-seed-totp:" + username.encode()).digest()
    return base64.b32encode(digest[:20]).decode("ascii")


def _viewer(username: str) -> SeedUser:
    return SeedUser(
        uuid5(_NAMESPACE, f"user:{username}"), username, f"{username}@socialflow.example", "viewer"
    )


def _user(n: int) -> SeedUser:
    username = f"{_TRAITS[n % len(_TRAITS)]}-{_THINGS[n // len(_TRAITS)]}"
    role = "viewer"
    if n == 0:
        role = "admin"
    elif n <= CREATORS:
        role = "creator"
    return SeedUser(
        uuid5(_NAMESPACE, f"user:{n}"), username, f"{username}@socialflow.example", role
    )


def _channel(name: str, owner: SeedUser, videos: list[SeedVideo], *, live: bool) -> SeedChannel:
    """Make a channel, and the first video of its owner what was recorded there."""
    n = next(n for n, video in enumerate(videos) if video.owner_id == owner.id)
    videos[n] = replace(videos[n], duration_s=RECORDING_S)
    return SeedChannel(uuid5(_NAMESPACE, f"channel:{name}"), name, owner.id, live, videos[n].id)


def _video(n: int, title: str, rank: int, owner: SeedUser, dice: random.Random) -> SeedVideo:
    # Most videos last a few minutes, some an hour.
    duration_s = min(2 * 3600, max(15, round(dice.lognormvariate(5.6, 0.9))))
    return SeedVideo(
        id=uuid5(_NAMESPACE, f"video:{n}"),
        owner_id=owner.id,
        title=title,
        description=f"{title}, filmed by {owner.username}.",
        duration_s=duration_s,
        published_at=_FIRST_DAY + timedelta(seconds=round(dice.random() * _SPAN.total_seconds())),
        views=round(_TOP_VIEWS / rank**_ZIPF_EXPONENT),
        hue=dice.random(),
    )
