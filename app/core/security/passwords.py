"""Passwords: argon2id in threads of its own, so that neither the loop nor the default pool ever waits for it."""

from __future__ import annotations

import asyncio
import secrets
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import structlog
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from app.core.errors import UnavailableError
from app.core.resilience.bulkhead import Bulkhead, BulkheadFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.metrics import Metrics

T = TypeVar("T")

# OWASP's second choice of parameters: 19 MiB and two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1

MAX_CHARACTERS = 128
"""A longer password is never hashed; without a bound the input itself would be the load."""

# Two cores do nothing else while two hashes run; more at a time only makes each slower.
MAX_CONCURRENT = 2
MAX_WAITING = 32
MAX_WAIT_S = 0.5
CLOSE_WITHIN_S = 1.0

BULKHEAD = "passwords"
WHAT = "the password check"

log = structlog.get_logger(component="auth")


class Passwords:
    """Hashes and checks. A check takes as long for an account that does not exist."""

    def __init__(self, metrics: Metrics) -> None:
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="passwords")
        self._bulkhead = Bulkhead(BULKHEAD, MAX_CONCURRENT, MAX_WAITING, max_wait_s=MAX_WAIT_S)
        self._seconds = metrics.password_hash_seconds
        self._running: set[asyncio.Task[object]] = set()
        self._dummy: str | None = None
        self._dummy_lock = Lock()
        metrics.watch_bulkhead(
            BULKHEAD,
            in_flight=lambda: self._bulkhead.in_flight,
            waiting=lambda: self._bulkhead.waiting,
        )

    async def hash(self, password: str) -> str:
        """Return the argon2id string to store.

        Raises ValueError for a password of more than 128 characters, `UnavailableError` when too many wait.
        """
        if len(password) > MAX_CHARACTERS:
            raise ValueError(
                f"a password of {len(password)} characters; expected at most {MAX_CHARACTERS}"
            )
        return await self._in_pool(partial(self._hasher.hash, _bytes(password)))

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether `hashed` was made of `password`; with None a dummy is checked and the answer is False.

        Raises `UnavailableError` when too many wait. A password that is too long for any account is not hashed at
        all: that tells nothing of this one.
        """
        if len(password) > MAX_CHARACTERS:
            return False
        return await self._in_pool(partial(self._check, _bytes(password), hashed))

    def outdated(self, hashed: str) -> bool:
        """Whether `hashed` was made with other parameters than those of today."""
        try:
            return self._hasher.check_needs_rehash(hashed)
        except InvalidHashError:
            return True

    async def close(self) -> None:
        """Wait a moment for what runs, then let the threads go."""
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_WITHIN_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_pool(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. A caller who leaves the queue frees its place at once."""
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._bulkhead)
                running = asyncio.create_task(self._run(work, stack.pop_all()))
        except BulkheadFullError as full:
            raise UnavailableError(WHAT) from full
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        # A thread cannot be stopped: a caller who leaves now must not free a place that is still taken.
        return await asyncio.shield(running)

    async def _run(self, work: Callable[[], T], place: AsyncExitStack) -> T:
        async with place:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._timed, work)

    def _timed(self, work: Callable[[], T]) -> T:
        # Before any work, not at the first unknown name: that would be the one slow answer.
        self._make_dummy()
        begun = time.perf_counter()
        try:
            return work()
        finally:
            self._seconds.observe(time.perf_counter() - begun)

    def _make_dummy(self) -> str:
        with self._dummy_lock:
            if self._dummy is None:
                self._dummy = self._hasher.hash(secrets.token_bytes())
            return self._dummy

    def _check(self, password: bytes, hashed: str | None) -> bool:
        dummy = self._make_dummy()
        if hashed is None:
            self._matches(dummy, password)
            return False
        try:
            return self._matches(hashed, password)
        except InvalidHashError:
            log.error("password_hash_unreadable", status="failure")  # noqa: TRY400 - its traceback says no more
            self._matches(dummy, password)
            return False

    def _matches(self, hashed: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            # Out of memory, say: nobody's password is wrong.
            raise UnavailableError(WHAT) from error


def _bytes(password: str) -> bytes:
    """One password is one sequence of bytes, whatever keyboard composed its accents (RFC 8265: NFC)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
