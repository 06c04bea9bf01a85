"""The accounts that the seed made for logins under load, and the codes of their second factor.

Listeners have confirmed two-factor authentication, visitors have a password alone. What belongs to an account follows
from its name alone (`app.seed` derives it alike), so nothing secret passes between the two.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pyotp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

PASSWORD = "socialflow-demo-password"  # noqa: S105 (of accounts that exist only where the seed ran)
HONEST_LISTENERS = 800
"""listener-0000 to listener-0799 log in with their code."""
BESIEGED_LISTENERS = range(800, 950)
"""Whose password an intruder has. None of them logs in, so a limit on them hits nobody honest."""
HONEST_VISITORS = 49
GUESSED_VISITOR = "visitor-49"
STEP_S = 30
LOGINS_PER_S = 8.0
"""The pace at which the turn begins to move with the clock: above every scenario's logins a second."""
REPLAY_WITHIN_S = 25.0
"""A code is good for at least a step after its login, so it is the guard that refuses one this young, not its age."""
MAX_USED = 256


@dataclass(frozen=True, slots=True)
class Used:
    """A code that let an account in, and when (seconds of the wall clock)."""

    username: str
    code: str
    at_s: float


@dataclass(slots=True)
class Accounts:
    """Whose turn it is, and which codes were used a moment ago. One a process; `clock` is the wall clock.

    Listeners come in turn, so none logs in twice within a step while there are fewer than 26 logins a second: a code
    is good for one login. The first turn follows the clock, so that the next process does not begin with accounts
    whose step the last one has just used.
    """

    clock: Callable[[], float] = time.time
    _turn: Iterator[int] = field(init=False)
    _used: deque[Used] = field(default_factory=lambda: deque(maxlen=MAX_USED))

    def __post_init__(self) -> None:
        """Take the first turn from the clock."""
        self._turn = count(int(self.clock() * LOGINS_PER_S))

    def next_listener(self) -> str:
        """Return the honest listener whose turn it is."""
        return f"listener-{next(self._turn) % HONEST_LISTENERS:04}"

    def code(self, username: str) -> str:
        """Return the code that the listener's device shows now."""
        return totp(username).at(int(self.clock()))

    def wrong_code(self, username: str, random: Random) -> str:
        """Return a code that is none of the listener's for some steps around now, so that luck lets nobody in."""
        now_s, device = int(self.clock()), totp(username)
        right = {device.at(now_s + step * STEP_S) for step in range(-3, 4)}
        while (code := f"{random.randrange(10**6):06}") in right:
            pass
        return code

    def remember(self, username: str, code: str) -> None:
        """Note that a code has let its account in."""
        self._used.append(Used(username, code, self.clock()))

    def take_used(self, random: Random) -> Used | None:
        """Return one of the young used codes and forget it; None when there is none."""
        oldest = self.clock() - REPLAY_WITHIN_S
        while self._used and self._used[0].at_s < oldest:
            self._used.popleft()
        if not self._used:
            return None
        picked = random.randrange(len(self._used))
        taken = self._used[picked]
        del self._used[picked]
        return taken


def totp(username: str) -> pyotp.TOTP:
    """Return what the listener's device holds (RFC 6238: SHA-1, six digits, 30 s)."""
    digest = hashlib.sha256(b"socialflow-seed-totp:" + username.encode()).digest()
    return pyotp.TOTP(base64.b32encode(digest[:20]).decode("ascii"), interval=STEP_S)


def besieged_listener(random: Random) -> str:
    """Draw a listener whose password is known to intruders."""
    return f"listener-{random.choice(BESIEGED_LISTENERS):04}"


def honest_visitor(random: Random) -> str:
    """Draw a visitor who knows the password; never the one at whom others guess."""
    return f"visitor-{random.randrange(HONEST_VISITORS):02}"
