"""One request: who asks, what is asked, was it asked before; then its work, and the answer in Stripe's shape."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import re
import secrets
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from compose.standins.payments import (
    billing,
    catalogue,
    customers,
    events,
    intents,
    refunds,
    subscriptions,
    transfers,
)
from compose.standins.payments import params as p
from compose.standins.payments.errors import ApiError
from compose.standins.payments.resource import Route, rendered
from compose.standins.payments.store import API_VERSION, KEPT_KEYS_S, Cause, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from compose.standins.payments.faults import Faults
    from compose.standins.payments.metrics import Metrics
    from compose.standins.payments.store import Store

MAX_UNDER_WAY = 256
MAX_KEY = 255
METHODS = frozenset({"GET", "POST", "DELETE"})
ROUTES: tuple[Route, ...] = (
    *customers.ROUTES,
    *catalogue.ROUTES,
    *intents.ROUTES,
    *refunds.ROUTES,
    *transfers.ROUTES,
    *billing.ROUTES,
    *subscriptions.ROUTES,
    *events.ROUTES,
)
_COMPILED = tuple(
    (route, re.compile(re.escape(route.path).replace(r"\{\}", "([^/]{1,255})"))) for route in ROUTES
)

log = logging.getLogger("payments")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was understood."""

    request_id: str
    route: Route
    ids: tuple[str, ...]
    given: p.Params
    key: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered; `original` is the request that was answered so first."""

    status: int
    body: str
    original: str | None = None


class Api:
    """All addresses below `/v1`."""

    def __init__(self, store: Store, key: str, faults: Faults, metrics: Metrics) -> None:
        """Serve who bears `key`."""
        self._store = store
        self._key = key.encode()
        self._faults = faults
        self._metrics = metrics
        self._under_way = 0
        self._keys: set[str] = set()
        self.changed: Callable[[], None] = lambda: None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        request_id = "req_" + secrets.token_hex(7)
        route = "unknown"
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
        try:
            asked = await self._understand(request, request_id)
            route = asked.route.path
            if asked.key:
                headers["Idempotency-Key"] = asked.key
            answer = await self._answer(asked)
            if request.method != "GET":
                self.changed()
                if self._faults.use("cut") and request.transport is not None:
                    request.transport.abort()
        except ApiError as error:
            answer = Answer(error.status, json.dumps(error.body))
            if error.status == 409:  # noqa: PLR2004 - HTTP's own name for it
                headers["Stripe-Should-Retry"] = "true"
        except sqlite3.Error as error:
            log.error("the state can not be used: %s", type(error).__name__)  # noqa: TRY400 - no data in logs
            answer = Answer(500, json.dumps({"error": {"type": "api_error", "message": _SORRY}}))
        if answer.original:
            headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.original}
            self._metrics.replayed.inc()
        method = request.method if request.method in METHODS else "other"
        self._metrics.requests.labels(method, route, str(answer.status)).inc()
        return web.Response(
            status=answer.status, text=answer.body, headers=headers, content_type="application/json"
        )

    def admit(self, request: web.Request) -> None:
        """Let in who bears the key. Raises `ApiError`."""
        given = request.headers.get("Authorization", "")
        scheme, _, value = given.partition(" ")
        if scheme.lower() == "basic":
            value = _user(value)
        if not value:
            raise ApiError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            )
        if not hmac.compare_digest(value.encode(errors="surrogateescape"), self._key):
            raise ApiError(401, "Invalid API Key provided: " + "*" * 12)

    async def _understand(self, request: web.Request, request_id: str) -> Asked:
        self.admit(request)
        for route, pattern in _COMPILED:
            found = pattern.fullmatch(request.path)
            if found and route.method == request.method:
                break
        else:
            raise ApiError(
                404,
                f"Unrecognized request URL ({request.method}: {request.path[:200]}). Please see "
                "https://stripe.com/docs or we can help at https://support.stripe.com/.",
            )
        encoded = request.rel_url.raw_query_string
        if request.method == "POST":
            encoded = "&".join(part for part in (encoded, await _body(request)) if part)
        if not _is_text(request.path) or not _is_text(encoded):
            raise ApiError(400, "The request is no valid UTF-8.")
        given = p.read(p.decode(encoded), route.fields, route.required)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key and (len(key) > MAX_KEY or not key.isascii()):
            raise ApiError(400, f"Idempotency keys are at most {MAX_KEY} ASCII characters long.")
        same = json.dumps([request.method, request.path, given], sort_keys=True)
        # Keyed, because what was asked may hold a card's number and there are few of those.
        fingerprint = hmac.new(self._key, same.encode(), hashlib.sha256).hexdigest()
        return Asked(request_id, route, found.groups(), given, key or None, fingerprint)

    async def _answer(self, asked: Asked) -> Answer:
        if asked.key in self._keys:
            self._metrics.conflicts.labels("in_flight").inc()
            raise ApiError(
                409,
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                "submitted twice, and the other request is still going through). Please try again later.",
                code="idempotency_key_in_use",
            )
        if self._under_way >= MAX_UNDER_WAY:
            raise ApiError(429, "Too many requests are under way.", code="rate_limit")
        self._under_way += 1
        if asked.key:
            self._keys.add(asked.key)
        try:
            await asyncio.sleep(self._faults.plan.hold_ms / 1000)
            cause = Cause(asked.request_id, asked.key)
            return await self._store.run(lambda tx: self._work(tx, asked), cause)
        finally:
            self._under_way -= 1
            self._keys.discard(asked.key or "")

    def _work(self, tx: Transaction, asked: Asked) -> Answer:
        """Do what is asked, or find what was answered to it; kept together with the answer."""
        if asked.key and (before := self._answered(tx, asked.key, asked.fingerprint)):
            return before
        paths = asked.given.get("expand") or []
        try:
            body: dict[str, Any] = rendered(tx, asked.route.act(tx, asked.given, *asked.ids), paths)
            status = 200
        except ApiError as error:
            if not error.keep:
                raise
            status, body = error.status, error.body
        answer = Answer(status, json.dumps(body))
        if asked.key:
            tx.connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                (asked.key, asked.fingerprint, status, answer.body, asked.request_id, tx.exact_now),
            )
        return answer

    def _answered(self, tx: Transaction, key: str, fingerprint: str) -> Answer | None:
        row = tx.connection.execute(
            "SELECT fingerprint, status, body, request FROM answers WHERE key = ? AND at > ?",
            (key, tx.exact_now - KEPT_KEYS_S),
        ).fetchone()
        if row is None:
            return None
        if not hmac.compare_digest(row[0], fingerprint):
            self._metrics.conflicts.labels("changed").inc()
            raise ApiError(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                kind="idempotency_error",
            )
        return Answer(row[1], row[2], original=row[3])


_SORRY = "An error occurred on our side. Whether the request was done is not known."


def forget_old_keys(tx: Transaction) -> None:
    """Remove answers that are no longer replayed."""
    tx.connection.execute("DELETE FROM answers WHERE at <= ?", (tx.exact_now - KEPT_KEYS_S,))


def _is_text(given: str) -> bool:
    """Return whether there is no half of a character in it, as bytes that are no UTF-8 leave behind."""
    return not any("\ud800" <= letter <= "\udfff" for letter in given)


async def _body(request: web.Request) -> str:
    try:
        return await request.text()
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(413, "The request is too large.") from error
    except (UnicodeDecodeError, LookupError) as error:
        raise ApiError(400, "The request is no valid UTF-8.") from error


def _user(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
