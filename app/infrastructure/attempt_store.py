"""Counted attempts in Redis, for all processes together; it shares the dependency `redis-cache` and its guard.

Nothing here chooses a fallback: each call does its work or raises `DependencyUnavailableError` (`LoginLimits` chooses).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from app.core.resilience.rate_limit import MICROSECONDS, Decision, Limit
from app.infrastructure.cache import redis_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from redis.asyncio import Redis

    from app.core.resilience.guard import Guard

ATTEMPTS = "attempts:"
STEPS = "totp-step:"
# A code is good from 30 s before its step to 30 s after it; a little more, for clocks that differ.
STEP_TTL_S = 120

# The sliding window counter of app.core.resilience.rate_limit, in the same whole microseconds (exact in a double).
# A key is a hash: i, the number of its window; c, its hits; p, those of the window before. Peeking writes nothing.
# Without a time from the caller Redis's own clock is used: one clock for all processes, so that none whose clock is
# wrong moves everybody's windows, and counts are never taken for older than they are.
COUNT_SCRIPT = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function wait_for_one(window, elapsed, count, period)
  local room = count - window.current - 1
  if room >= 0 then
    if window.previous == 0 then return 0 end
    return math.max(0, period - math.floor(room * period / window.previous) - elapsed)
  end
  local next_room = math.floor((count - 1) * period / window.current)
  return period - elapsed + math.max(0, period - next_room)
end

local answer = {}
for number, key in ipairs(KEYS) do
  local at = 3 * number - 1
  local count, period = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local elapsed = math.fmod(now, period)
  local index = (now - elapsed) / period
  local window = {index = index, current = 0, previous = 0}
  local kept = redis.call('HMGET', key, 'i', 'c', 'p')
  if kept[1] then
    local was = tonumber(kept[1])
    if index <= was then
      window = {index = was, current = tonumber(kept[2]), previous = tonumber(kept[3])}
      if index < was then elapsed = 0 end
    elseif index == was + 1 then
      window.previous = tonumber(kept[2])
    end
  end
  local wait = wait_for_one(window, elapsed, count, period)
  local allowed = wait == 0
  if allowed and ARGV[at + 2] == 'hit' then
    window.current = window.current + 1
    redis.call('HSET', key, 'i', string.format('%.0f', window.index), 'c', window.current,
      'p', window.previous)
    redis.call('PEXPIRE', key, math.ceil((2 * period - elapsed) / 1000))
    wait = wait_for_one(window, elapsed, count, period)
  end
  answer[2 * number - 1] = allowed and 1 or 0
  answer[2 * number] = wait
end
return answer
"""


@dataclass(frozen=True, slots=True)
class Question:
    """May this be done once more? With `hit` it is also counted, if it may. A key belongs to one limit."""

    key: str
    limit: Limit
    hit: bool = False


class AttemptStore:
    """Each method is one round trip. A key lives for two periods of its limit after its last hit."""

    def __init__(
        self, redis_url: str, guard: Guard, clock: Callable[[], float] | None = None
    ) -> None:
        """`clock` gives the seconds since 1970 (tests have one of their own); None: the clock of Redis."""
        self._guard = guard
        self._clock = clock
        # The bulkhead bounds the calls, so the pool never has to say no.
        self._redis: Redis = redis_client(
            redis_url, max_connections=2 * guard.bulkhead.max_concurrent
        )
        self._count = self._redis.register_script(COUNT_SCRIPT)

    async def decide(self, questions: Sequence[Question]) -> list[Decision]:
        """Answer all of them at one moment, each by itself."""
        now = "" if self._clock is None else str(int(self._clock() * MICROSECONDS))
        arguments: list[str | int] = [now]
        for each in questions:
            arguments += [each.limit.count, each.limit.period_us, "hit" if each.hit else "peek"]
        keys = [f"{ATTEMPTS}{each.key}" for each in questions]
        answer = cast("list[int]", await self._call(partial(self._count, keys, arguments)))
        return [
            Decision(allowed == 1, wait_us / MICROSECONDS)
            for allowed, wait_us in zip(answer[::2], answer[1::2], strict=True)
        ]

    async def peek(self, key: str, limit: Limit) -> Decision:
        """Say whether a hit would be allowed; count nothing."""
        return (await self.decide([Question(key, limit)]))[0]

    async def hit(self, key: str, limit: Limit) -> Decision:
        """Count one hit if it is allowed."""
        return (await self.decide([Question(key, limit, hit=True)]))[0]

    async def forget(self, key: str) -> None:
        """Count from nothing again."""
        await self._call(partial(self._redis.delete, f"{ATTEMPTS}{key}"))

    async def remember_step(self, user_id: UUID, step: int) -> None:
        """Remember that this one-time code was used, for as long as it would be good."""
        await self._call(partial(self._redis.set, _step_key(user_id, step), b"", ex=STEP_TTL_S))

    async def seen_step(self, user_id: UUID, step: int) -> bool:
        """Whether this one-time code was used."""
        return await self._call(partial(self._redis.exists, _step_key(user_id, step))) == 1

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    async def _call(self, ask: Callable[[], object]) -> object:
        # Nobody waits for a probe: every caller has a fallback, and a hit that a probe counts is a hit that was made.
        return await self._guard.call(
            cast("Callable[[], Awaitable[object]]", ask), probe_beside=True
        )


def _step_key(user_id: UUID, step: int) -> str:
    return f"{STEPS}{user_id.hex}:{step}"
