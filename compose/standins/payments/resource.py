"""What every resource has: routes, reading one, listing pages, and expanding what is named by its id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compose.standins.payments import params as p
from compose.standins.payments.errors import invalid
from compose.standins.payments.store import Object, Transaction, public

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Act = Callable[..., Object]

PAGE_SIZE = 10
MAX_EXPANSIONS = 20
MAX_EXPANSION_DEPTH = 6
_COMPARED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Route:
    """One address: `act` gets the transaction, the typed parameters and the ids in the path."""

    method: str
    path: str
    act: Act
    fields: p.Fields = field(default_factory=dict)
    required: tuple[str, ...] = ()


def retrieving(kind: str, path: str) -> Route:
    """Return the route that reads one object."""

    def act(tx: Transaction, _given: p.Params, one: str) -> Object:
        return tx.get(kind, one, status=404, param="id")

    return Route("GET", path, act, {"expand": p.list_of(p.text)})


def listing(
    kind: str,
    path: str,
    filters: Mapping[str, p.Field] | None = None,
    *,
    names: Mapping[str, str] | None = None,
) -> Route:
    """Return the route that lists objects, newest first; `names` are the filters' fields where they differ."""

    def act(tx: Transaction, given: p.Params, *ids: str) -> Object:
        where: dict[str, object] = {}
        for name in filters or {}:
            if (value := given.get(name)) is not None:
                where[(names or {}).get(name, name)] = value
        return page(tx, kind, path.format(*ids), given, where)

    return Route("GET", path, act, {**p.PAGE, **(filters or {})})


def page(
    tx: Transaction, kind: str, url: str, given: p.Params, where: Mapping[str, object]
) -> Object:
    """Return one page of a list."""
    conditions = dict(where)
    created = given.get("created")
    if isinstance(created, int):
        conditions["created = ?"] = created
    for name, value in (created or {}).items() if isinstance(created, dict) else ():
        conditions[f"created {_COMPARED[name]} ?"] = value
    after, before = given.get("starting_after"), given.get("ending_before")
    if after and before:
        raise invalid("You can only use one of starting_after and ending_before.", "ending_before")
    if after:
        conditions["seq < ?"] = tx.position(kind, after, "starting_after")
    if before:
        conditions["seq > ?"] = tx.position(kind, before, "ending_before")
    size = given.get("limit") or PAGE_SIZE
    tail = "ORDER BY seq ASC" if before else "ORDER BY seq DESC"
    found = tx.select(kind, conditions, tail=tail, limit=size + 1)
    shown = found[:size]
    if before:
        shown.reverse()
    return {"object": "list", "data": shown, "has_more": len(found) > size, "url": url}


def rendered(tx: Transaction, body: Object, paths: list[str]) -> Object:
    """Return an object as it is answered, what `paths` name expanded. Raises `ApiError`."""
    if len(paths) > MAX_EXPANSIONS or any(x.count(".") >= MAX_EXPANSION_DEPTH for x in paths):
        raise invalid("You cannot expand so many or so deep properties.", "expand")
    below: dict[str, list[str]] = {}
    for path in paths:
        head, _, tail = path.partition(".")
        below.setdefault(head, []).extend([tail] if tail else [])
    shown = public(body)
    if body.get("object") == "list":
        shown["data"] = [_within(tx, one, below.get("data", [])) for one in body["data"]]
        below.pop("data", None)
    for name, tails in below.items():
        shown[name] = _within(tx, _expandable(tx, body, name), tails)
    return shown


def _within(tx: Transaction, value: object, tails: list[str]) -> object:
    return rendered(tx, value, tails) if isinstance(value, dict) else value


def _expandable(tx: Transaction, body: Object, name: str) -> Any:  # noqa: ANN401 - JSON
    if body.get("object") == "invoice" and name in ("payments", "confirmation_secret"):
        return _of_invoice(tx, body, name)
    value = body.get(name)
    if isinstance(value, dict) or (value is None and name in body):
        return value
    found = tx.any(value) if isinstance(value, str) and name != "id" else None
    if found is None:
        raise invalid(f"This property cannot be expanded ({name[:80]}).", "expand")
    return found


def _of_invoice(tx: Transaction, invoice: Object, name: str) -> Object | None:
    """Return what an invoice shows only when it is asked for."""
    payments = tx.select("invoice_payment", {"invoice": invoice["id"]})
    if name == "payments":
        url = f"/v1/invoices/{invoice['id']}/payments"
        return {"object": "list", "data": payments, "has_more": False, "url": url}
    if not payments:
        return None
    intent = tx.get("payment_intent", payments[0]["payment"]["payment_intent"])
    return {"client_secret": intent["client_secret"], "type": "payment_intent"}
