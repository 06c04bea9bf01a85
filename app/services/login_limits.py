"""How often somebody may try: the one place where the fallback of these limits is chosen.

This process counts always, beside Redis, and either of both may refuse. So the limits hold through the moment in which
Redis goes away, and while it is away they hold in each process by itself. No trouble of Redis ever reaches a caller.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeVar

import structlog

from app.core.context import mark_degraded
from app.core.errors import TooManyRequestsError
from app.core.resilience.guard import DependencyUnavailableError
from app.core.resilience.rate_limit import Decision, Limit, LocalLimiter
from app.infrastructure.attempt_store import AttemptStore, Question
from app.infrastructure.cache import DEPENDENCY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from app.core.metrics import Metrics
    from app.core.security.keys import Keys

T = TypeVar("T")

FEATURE = "auth"

ACCOUNT = Limit("account", 5, 300.0)
"""Failures of one account."""
ADDRESS = Limit("address", 60, 60.0)
"""Attempts from one address."""
EVERYBODY = Limit("everybody", 600, 60.0)
"""Failures of all together: what is left when each attempt comes from another address and names another account."""
SIGNUP = Limit("signup", 20, 3600.0)
"""Sign-ups from one address."""

# `EVERYBODY` lets at most 6000 accounts fail within the ten minutes for which a failure counts, so nobody can push
# out an account's failures by failing for others. Addresses have a counter of their own for the same reason.
MAX_ACCOUNTS = 10_000
MAX_ADDRESSES = 10_000

# As long as a request may take; then the attempts that are under way have ended.
UNDER_WAY_RETRY_S = 1.0
# Who has a whole network of IPv6 has 2^64 addresses.
IPV6_NETWORK_BITS = 64

log = structlog.get_logger(component="auth")


class LoginLimits:
    """Names of accounts and addresses are stored and logged as pseudonyms only."""

    def __init__(
        self,
        store: AttemptStore | None,
        keys: Keys,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`store` is None when Redis is switched off."""
        self._store = store
        self._keys = keys
        self._fallbacks = metrics.app_fallback_total
        self._accounts = LocalLimiter(MAX_ACCOUNTS, clock)
        self._addresses = LocalLimiter(MAX_ADDRESSES, clock)
        self._everybody = LocalLimiter(1, clock)
        self._logged = LocalLimiter(MAX_ACCOUNTS, clock)
        # Which requests try an account at this moment: at most one entry a request that is being served.
        self._under_way: dict[str, set[asyncio.Task[object]]] = {}

    async def check(self, account: str, address: str) -> None:
        """Count the attempt and let it go on, or raise `TooManyRequestsError`. Call before looking at a password.

        Attempts under way count as failures until they have ended: otherwise a burst of guesses would be through
        before the first has failed. They end with `failed`, `succeeded` or the task.
        """
        account_key, address_key = self._account_key(account), self._address_key(address)
        others = len(self._others_under_way(account_key))
        if others >= ACCOUNT.count:
            raise TooManyRequestsError(UNDER_WAY_RETRY_S)
        _raise_if_refused(
            [
                self._everybody.peek(EVERYBODY.name, EVERYBODY),
                self._accounts.peek(account_key, ACCOUNT, ahead=others),
                self._addresses.hit(address_key, ADDRESS),
            ]
        )
        self._begin(account_key)
        questions = [
            Question(EVERYBODY.name, EVERYBODY),
            Question(account_key, ACCOUNT),
            Question(address_key, ADDRESS, hit=True),
        ]
        try:
            _raise_if_refused(await self._decide(questions))
        except TooManyRequestsError:
            self._end(account_key)
            raise

    async def failed(self, account: str, address: str) -> None:  # noqa: ARG002 - the address was counted by `check`
        """Count a failure of the account."""
        key = self._account_key(account)
        local = [self._accounts.hit(key, ACCOUNT), self._everybody.hit(EVERYBODY.name, EVERYBODY)]
        self._end(key)
        questions = [
            Question(key, ACCOUNT, hit=True),
            Question(EVERYBODY.name, EVERYBODY, hit=True),
        ]
        shared = await self._decide(questions)
        for number, question in enumerate(questions):
            wait_s = max(each[number].retry_after_s for each in (local, shared) if each)
            if wait_s > 0:
                self._log_locked(question, wait_s)

    async def succeeded(self, account: str, address: str) -> None:  # noqa: ARG002 - an address gets nothing back
        """Forget the account's failures; those of the address stay, or an account of one's own would clear them.

        Only after the whole proof: a password without its code clears nothing, or its owner could guess on.
        """
        key = self._account_key(account)
        self._accounts.forget(key)
        self._logged.forget(key)
        self._end(key)
        if self._store is not None:
            await self._ask(partial(self._store.forget, key))

    async def check_signup(self, address: str) -> None:
        """Count a sign-up and let it go on, or raise `TooManyRequestsError`."""
        key = self._address_key(address, SIGNUP)
        _raise_if_refused([self._addresses.hit(key, SIGNUP)])
        _raise_if_refused(await self._decide([Question(key, SIGNUP, hit=True)]))

    async def step_was_used(self, user_id: UUID, step: int) -> bool:
        """Whether a one-time code is known to be used. False may mean that Redis is away: the database decides."""
        if self._store is None:
            return False
        return await self._ask(partial(self._store.seen_step, user_id, step)) or False

    async def step_used(self, user_id: UUID, step: int) -> None:
        """Remember that a one-time code was used."""
        if self._store is not None:
            await self._ask(partial(self._store.remember_step, user_id, step))

    async def _decide(self, questions: Sequence[Question]) -> list[Decision]:
        """Return what all processes together say; nothing when Redis cannot be asked."""
        if self._store is None:
            mark_degraded(FEATURE)
            return []
        return await self._ask(partial(self._store.decide, questions)) or []

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await ask()
        except DependencyUnavailableError as unavailable:
            self._fallbacks.labels(DEPENDENCY, unavailable.reason).inc()
            mark_degraded(FEATURE)
            return None

    def _log_locked(self, question: Question, wait_s: float) -> None:
        """Write one line a period, not one an attempt."""
        once = Limit("logged", 1, question.limit.period_s)
        if not self._logged.hit(question.key, once).allowed:
            return
        fields = {"limit": question.limit.name, "retry_after_s": round(wait_s, 1)}
        if question.limit is ACCOUNT:
            fields["user"] = question.key.partition(":")[2]
        log.warning("account_locked", status="failure", **fields)

    def _account_key(self, account: str) -> str:
        return f"{ACCOUNT.name}:{self._keys.pseudonym(account)}"

    def _address_key(self, address: str, limit: Limit = ADDRESS) -> str:
        return f"{limit.name}:{self._keys.pseudonym(network_of(address))}"

    def _others_under_way(self, key: str) -> set[asyncio.Task[object]]:
        return self._under_way.get(key, set()) - {_this_task()}

    def _begin(self, key: str) -> None:
        task = _this_task()
        tasks = self._under_way.setdefault(key, set())
        if task not in tasks:
            tasks.add(task)
            # Whatever else happens to the request, its task ends.
            task.add_done_callback(partial(self._end, key))

    def _end(self, key: str, task: asyncio.Task[object] | None = None) -> None:
        tasks = self._under_way.get(key, set())
        tasks.discard(task or _this_task())
        if not tasks:
            self._under_way.pop(key, None)


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, the /64 of an IPv6 one, any other text as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), IPV6_NETWORK_BITS), strict=False))


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("limits are asked outside of a task; call from a coroutine")
    return task


def _raise_if_refused(decisions: Sequence[Decision]) -> None:
    waits_s = [each.retry_after_s for each in decisions if not each.allowed]
    if waits_s:
        raise TooManyRequestsError(max(waits_s))
