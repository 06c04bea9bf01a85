"""The provider's HTTP side: the API, health and metrics, and the control of clock and faults."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from compose.standins.payments.api import Api, forget_old_keys
from compose.standins.payments.errors import ApiError
from compose.standins.payments.faults import FaultError, Faults
from compose.standins.payments.intents import authenticate
from compose.standins.payments.metrics import Metrics
from compose.standins.payments.resource import rendered
from compose.standins.payments.store import Cause, Store, Transaction
from compose.standins.payments.subscriptions import DUE_AT_ONCE, tick
from compose.standins.payments.webhooks import Deliveries, Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

BODY_LIMIT_BYTES = 64 * 1024
UPKEEP_S = 0.5
MAX_AHEAD_S = 10 * 366 * 86_400.0

log = logging.getLogger("payments")


class Provider:
    """The handlers and the state behind them."""

    def __init__(
        self, folder: Path, key: str, endpoint: Endpoint | None, clock: Callable[[], float]
    ) -> None:
        """Take up the state in `folder`. Raises `OSError` and `sqlite3.Error`."""
        self._store = Store(folder, clock, webhooks=endpoint is not None)
        self._endpoint = endpoint
        self._clock = clock
        self._faults = Faults()
        self._metrics = Metrics()
        self._api = Api(self._store, key, self._faults, self._metrics)

    def app(self) -> web.Application:
        """Return the application; while it runs, webhooks are sent and subscriptions renewed."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/_control/faults", self._controlled(self.show_faults))
        app.router.add_put("/_control/faults", self._controlled(self.set_faults))
        app.router.add_get("/_control/deliveries", self._controlled(self.deliveries))
        app.router.add_post("/_control/clock", self._controlled(self.advance))
        app.router.add_post("/_control/authenticate", self._controlled(self.authenticate))
        app.router.add_route("*", "/{path:.*}", self._api.handle)
        app.cleanup_ctx.append(self._running)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        """Say that the state can be read."""
        try:
            await self._store.run(lambda tx: tx.connection.execute("SELECT 1").fetchone())
        except sqlite3.Error:
            return web.json_response({"status": "unhealthy"}, status=503)
        return web.json_response({"status": "healthy"})

    async def metrics(self, request: web.Request) -> web.Response:
        """Return the metrics in the format that was asked for."""
        pending, kinds = await self._store.run(_counts)
        self._metrics.pending.set(pending)
        for kind, count in kinds:
            self._metrics.objects.labels(kind).set(count)
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(
            body=encoder(self._metrics.registry), headers={"Content-Type": content_type}
        )

    async def show_faults(self, _asked: object) -> object:
        """Return the faults that are on."""
        return self._faults.to_json()

    async def set_faults(self, asked: object) -> object:
        """Replace the faults."""
        try:
            self._faults.take_up(asked)
        except FaultError as error:
            raise ApiError(400, str(error)) from error
        return self._faults.to_json()

    async def deliveries(self, _asked: object) -> object:
        """Return how many deliveries are in each state."""
        return await self._store.run(
            lambda tx: dict(
                tx.connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state")
            )
        )

    async def advance(self, asked: object) -> object:
        """Set the clock ahead, and do what became due."""
        seconds = asked.get("advance_s") if isinstance(asked, dict) else None
        if type(seconds) is not int or not 0 <= seconds <= MAX_AHEAD_S:
            raise ApiError(400, f"advance_s must be an integer from 0 to {MAX_AHEAD_S:.0f}")
        await self._store.advance(seconds)
        await self._upkeep()
        return {"now": int(self._store.now())}

    async def authenticate(self, asked: object) -> object:
        """Be a card's holder who is asked by the bank."""
        given = asked if isinstance(asked, dict) else {}
        intent, succeeds = given.get("payment_intent"), given.get("succeeds", True)
        if not isinstance(intent, str) or not isinstance(succeeds, bool):
            raise ApiError(400, "expected payment_intent, and succeeds as true or false")

        def work(tx: Transaction) -> object:
            return rendered(tx, authenticate(tx, intent, succeeds=succeeds), [])

        return await self._store.run(work, Cause(None, None))

    def _controlled(
        self, act: Callable[[object], Awaitable[object]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                self._api.admit(request)
                answer = await act(await _json(request) if request.can_read_body else None)
            except ApiError as error:
                return web.json_response(error.body, status=error.status)
            return web.json_response(answer)

        return handle

    async def _upkeep(self) -> None:
        await self._store.run(forget_old_keys)
        while await self._store.run(tick) == DUE_AT_ONCE:
            continue

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_S)
            try:
                await self._upkeep()
            except sqlite3.Error as error:
                log.error("upkeep failed: %s", type(error).__name__)  # noqa: TRY400 - no data in logs

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._keep_up())]
        if self._endpoint is not None:
            deliveries = Deliveries(
                self._store, self._endpoint, self._faults, self._metrics.webhooks, self._clock
            )
            self._api.changed = deliveries.wake.set
            tasks.append(asyncio.create_task(deliveries.run()))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()


def _counts(tx: Transaction) -> tuple[int, list[tuple[str, int]]]:
    pending = tx.connection.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'")
    kinds = tx.connection.execute("SELECT kind, count(*) FROM objects GROUP BY kind")
    return int(pending.fetchone()[0]), kinds.fetchall()


async def _json(request: web.Request) -> object:
    try:
        found: object = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "expected JSON") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(413, "The request is too large.") from error
    return found
