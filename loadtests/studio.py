"""Creators at work: their access tokens, clips of which no two are alike, and what became of each upload."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import imageio_ffmpeg

from chaos.errors import HarnessError
from loadtests.accounts import PASSWORD
from loadtests.errand import ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

CREATORS = ("amber-harbour", "northern-harbour", "velvet-harbour", "hidden-harbour")
"""Seeded accounts that may upload and have no second factor."""
ADDRESS = "10.77.7.7"
RENEW_BEFORE_S = 120.0
"""How long before its end a token is replaced: several tries fit into it."""
AGAIN_AFTER_S = 3.0
"""An upload this old has had its answer, or its client has given up: only then does a client try again."""
LOOK_AT_TOKENS_S = 10.0
REMEMBERED = 256
CLIP_S = 2
CLIP_WITHIN_S = 20.0
UNIQUE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of one creator under one key. `unique` makes its bytes its own; `video_id` is that of the receipt."""

    owner: str
    key: str
    unique: bytes
    checksum: str
    begun_s: float
    video_id: str = ""

    @property
    def digest(self) -> str:
        """Return the field Content-Digest (RFC 9530) of the content."""
        return f"sha-256=:{base64.b64encode(bytes.fromhex(self.checksum)).decode()}:"


@dataclass(slots=True)
class Tokens:
    """Access tokens of some creators at `host`, fetched before the load and renewed before they end.

    `clock` is monotonic. These logins are no arrivals: they are the load's own errand.
    """

    host: str
    usernames: tuple[str, ...] = CREATORS
    clock: Callable[[], float] = time.monotonic
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    def fetch(self) -> None:
        """Log everybody in. Raises `HarnessError` when somebody is not let in."""
        for username in self.usernames:
            self._log_in(username)

    def renew(self) -> int:
        """Log in again whose token is about to end; return how many could not be, and are tried next time."""
        soon, failed = self.clock() + RENEW_BEFORE_S, 0
        for username, (_, ends_s) in tuple(self._tokens.items()):
            if ends_s <= soon:
                try:
                    self._log_in(username)
                except HarnessError:
                    failed += 1
        return failed

    def of(self, username: str) -> str:
        """Return the access token of a creator who was logged in."""
        return self._tokens[username][0]

    def _log_in(self, username: str) -> None:
        began = self.clock()
        body = json.dumps({"username": username, "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/json", "X-Forwarded-For": ADDRESS}
        try:
            answer = ask(self.host, "POST", "/api/v1/auth/login", body=body, headers=headers)
            tokens = answer["tokens"]
            token, lives_s = str(tokens["access_token"]), float(tokens["expires_in_s"])
        except (HarnessError, ValueError, TypeError, KeyError) as error:
            raise HarnessError(
                f"{username} could not log in: {error}; seed the system (`python -m app.seed`)"
            ) from error
        self._tokens[username] = (token, began + lives_s)


def keep_renewed(tokens: Tokens, sleep: Callable[[float], object]) -> None:
    """Keep tokens good for ever, in a greenlet of its own whose `sleep` lets others run."""
    while True:
        sleep(LOOK_AT_TOKENS_S)
        tokens.renew()


@dataclass(slots=True)
class Studio:
    """What creators have at hand. Everything that is remembered has a bound; the oldest is forgotten."""

    clip: bytes
    tokens: Tokens
    clock: Callable[[], float] = time.monotonic
    _begun: deque[Upload] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _kept: deque[Upload] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _waiting: deque[Upload] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def begin(self, key: str, random: Random) -> Upload:
        """Return a new upload under `key`, whose bytes nobody has sent before."""
        owner = random.choice(self.tokens.usernames)
        upload = self.upload(owner, key, os.urandom(UNIQUE_BYTES))
        self._begun.append(upload)
        return upload

    def upload(self, owner: str, key: str, unique: bytes) -> Upload:
        """Return an upload as a value; nobody remembers it."""
        checksum = hashlib.sha256(content(self.clip, unique)).hexdigest()
        return Upload(owner, key, unique, checksum, self.clock())

    def content(self, upload: Upload) -> bytes:
        """Return the bytes of an upload."""
        return content(self.clip, upload.unique)

    def keep(self, upload: Upload, video_id: str) -> None:
        """Note that an upload was acknowledged as `video_id`."""
        if all(kept.key != upload.key for kept in self._kept):
            kept = replace(upload, video_id=video_id)
            self._kept.append(kept)
            self._waiting.append(kept)

    def earlier(self, random: Random) -> Upload | None:
        """Draw an upload that was sent a while ago, whether it was acknowledged or not; None when there is none."""
        old = [u for u in self._begun if u.begun_s <= self.clock() - AGAIN_AFTER_S]
        return random.choice(old) if old else None

    def kept(self, random: Random) -> Upload | None:
        """Draw an acknowledged upload; None when there is none."""
        return random.choice(self._kept) if self._kept else None

    def waiting(self) -> Upload | None:
        """Return an acknowledged upload that was not seen ready yet, each in its turn; None when there is none."""
        self._waiting.rotate(-1)
        return self._waiting[-1] if self._waiting else None

    def ready(self, upload: Upload) -> None:
        """Note that an upload was seen ready."""
        if upload in self._waiting:
            self._waiting.remove(upload)


def content(clip: bytes, unique: bytes) -> bytes:
    """Return the clip with a box behind it that players skip (ISO 14496-12: `free`), so that its bytes are its own."""
    return clip + struct.pack(">I4s", 8 + len(unique), b"free") + unique


def open_studio(host: str) -> Studio:
    """Make the clip and log the creators in. Raises `HarnessError`."""
    tokens = Tokens(host)
    tokens.fetch()
    return Studio(make_clip(), tokens)


def make_clip() -> bytes:
    """Return a real MP4 of two seconds with picture and sound, about 30 KB. Raises `HarnessError`."""
    picture = f"testsrc2=size=320x180:rate=10:duration={CLIP_S}"
    tone = f"sine=frequency=330:sample_rate=22050:duration={CLIP_S}"
    command = [
        *(os.environ.get("FFMPEG") or str(imageio_ffmpeg.get_ffmpeg_exe()), "-hide_banner"),
        *("-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", picture),
        *("-f", "lavfi", "-i", tone, "-threads", "1", "-c:v", "libx264", "-preset", "veryfast"),
        *("-profile:v", "baseline", "-crf", "32", "-pix_fmt", "yuv420p", "-c:a", "aac"),
        # To a pipe, which cannot be gone back on: the index comes first, and the clip in fragments behind it.
        *("-b:a", "32k", "-ac", "1", "-movflags", "frag_keyframe+empty_moov+default_base_moof"),
        # The same bytes in every process: hot clips are sent again, under their old keys, by each load.
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
        *("-flags:a", "+bitexact", "-f", "mp4", "-"),
    ]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=CLIP_WITHIN_S)  # noqa: S603 (our own words)
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"the clip to upload could not be made: {error}") from error
    return done.stdout
