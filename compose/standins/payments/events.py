"""Events: what happened, in the order in which it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.resource import Route, page

if TYPE_CHECKING:
    from compose.standins.payments.store import Object, Transaction


def shown(tx: Transaction, event: Object) -> Object:
    """Return an event with how many of its deliveries are still to be made."""
    row = tx.connection.execute(
        "SELECT count(*) FROM deliveries WHERE event = ? AND state = 'pending'", (event["id"],)
    ).fetchone()
    return {**event, "pending_webhooks": int(row[0])}


def retrieve(tx: Transaction, _given: p.Params, one: str) -> Object:
    """Return one event."""
    return shown(tx, tx.get("event", one, status=404, param="id"))


def list_events(tx: Transaction, given: p.Params) -> Object:
    """List events, newest first."""
    where: dict[str, object] = {}
    if kind := given.get("type"):
        any_of = kind.endswith(".*")
        where["json_extract(body, '$.type') GLOB ?" if any_of else "type"] = kind
    if kinds := given.get("types"):
        where["json_extract(body, '$.type') IN (SELECT value FROM json_each(?))"] = p.as_json(kinds)
    if (delivered := given.get("delivery_success")) is not None:
        pending = (
            "EXISTS (SELECT 1 FROM deliveries WHERE event = objects.id AND state <> 'delivered')"
        )
        where[f"{pending} = ?"] = not delivered
    found = page(tx, "event", "/v1/events", given, where)
    return {**found, "data": [shown(tx, event) for event in found["data"]]}


ROUTES = (
    Route(
        "GET",
        "/v1/events",
        list_events,
        {**p.PAGE, "type": p.text, "types": p.list_of(p.text), "delivery_success": p.boolean},
    ),
    Route("GET", "/v1/events/{}", retrieve, {"expand": p.list_of(p.text)}),
)
