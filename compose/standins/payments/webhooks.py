"""Webhooks: signed, sent until they are taken, and broken on purpose when a fault says so."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from compose.standins.payments.store import Transaction, public

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter

    from compose.standins.payments.faults import Faults
    from compose.standins.payments.store import Store

SEND_LIMIT_S = 5.0
AT_ONCE = 16
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
GIVE_UP_S = 3 * 86_400.0
REORDER_WAIT_S = 1.0
"""How long a reordering waits for its company before it goes without."""
POLL_S = 0.1

log = logging.getLogger("payments")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to the endpoint."""

    seq: int
    payload: bytes
    at: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where webhooks go and the secret that they are signed with."""

    url: str
    secret: str


def signature(secret: str, payload: bytes, at: int) -> str:
    """Return the `Stripe-Signature` header of a payload."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many attempts without success."""
    return min(FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20), LONGEST_PAUSE_S)


class Deliveries:
    """Sends what is due, a few at a time, and keeps how it went."""

    def __init__(
        self,
        store: Store,
        endpoint: Endpoint,
        faults: Faults,
        counted: Counter,
        clock: Callable[[], float],
    ) -> None:
        """Send the store's events to the endpoint; `clock` is the time that signatures bear."""
        self._store = store
        self._endpoint = endpoint
        self._faults = faults
        self._counted = counted
        self._clock = clock
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Deliver for ever."""
        limit = aiohttp.ClientTimeout(total=SEND_LIMIT_S)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while True:
                self.wake.clear()
                due = self._chosen(await self._store.run(self._due))
                if due:
                    await self._deliver(session, due)
                else:
                    await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self.wake.wait()
        except TimeoutError:
            return

    def _due(self, tx: Transaction) -> list[Delivery]:
        plan = self._faults.plan
        rows = tx.connection.execute(
            "SELECT d.seq, o.body, d.at, d.attempts FROM deliveries d JOIN objects o ON o.id = d.event "
            "WHERE d.state = 'pending' AND d.due <= ? AND (d.attempts > 0 OR d.at <= ?) "
            "ORDER BY d.due, d.seq LIMIT ?",
            (tx.exact_now, tx.exact_now - plan.delay_ms / 1000, max(AT_ONCE, plan.reorder)),
        )
        found = []
        for seq, body, at, attempts in rows:
            event = {**public(json.loads(body)), "pending_webhooks": 1}
            found.append(Delivery(seq, json.dumps(event).encode(), at, attempts))
        return found

    def _chosen(self, due: list[Delivery]) -> list[Delivery]:
        """Return what to send now: while reordering nothing until there is enough to reorder."""
        plan = self._faults.plan
        if plan.reorder < 2 or not due:  # noqa: PLR2004 - one alone has no order
            return due[:AT_ONCE]
        waited_s = self._store.now() - due[0].at - plan.delay_ms / 1000
        if len(due) < plan.reorder and waited_s < REORDER_WAIT_S:
            return []
        return sorted(due[: plan.reorder], key=lambda one: one.seq, reverse=True)

    async def _deliver(self, session: aiohttp.ClientSession, due: list[Delivery]) -> None:
        if self._faults.plan.reorder:
            states = [await self._send(session, one) for one in due]
        else:
            states = await asyncio.gather(*(self._send(session, one) for one in due))
        for state in states:
            self._counted.labels(result=state).inc()
        outcome = list(zip(due, states, strict=True))

        def keep(tx: Transaction) -> None:
            for one, state in outcome:
                _keep(tx, one, state)

        await self._store.run(keep)

    async def _send(self, session: aiohttp.ClientSession, one: Delivery) -> str:
        """Send one delivery and its copies; return its state after that."""
        if one.attempts == 0 and self._faults.use("drop"):
            return "dropped"
        copies = 1 + (self._faults.plan.duplicate if one.attempts == 0 else 0)
        taken = [await self._post(session, one.payload) for _ in range(copies)]
        return "delivered" if all(taken) else "pending"

    async def _post(self, session: aiohttp.ClientSession, payload: bytes) -> bool:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(self._endpoint.secret, payload, int(self._clock())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            async with session.post(
                self._endpoint.url, data=payload, headers=headers, allow_redirects=False
            ) as answer:
                return 200 <= answer.status < 300  # noqa: PLR2004 - any success
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


def _keep(tx: Transaction, one: Delivery, state: str) -> None:
    attempts = one.attempts + 1
    if state == "pending" and tx.exact_now - one.at > GIVE_UP_S:
        state = "failed"
    tx.connection.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, due = ? WHERE seq = ?",
        (state, attempts, tx.exact_now + pause_s(attempts), one.seq),
    )
