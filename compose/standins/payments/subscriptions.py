"""Subscriptions by price, in the flow that Stripe recommends: incomplete until the first invoice is paid."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.billing import (
    change_status,
    charge,
    default_method,
    new_invoice,
    void,
)
from compose.standins.payments.catalogue import price_of
from compose.standins.payments.customers import customer, owned
from compose.standins.payments.errors import ApiError, invalid, missing
from compose.standins.payments.resource import Route, page, retrieving

if TYPE_CHECKING:
    from collections.abc import Callable

    from compose.standins.payments.store import Object, Transaction

INCOMPLETE_S = 23 * 3600
DUE_AT_ONCE = 50
MAX_ITEMS = 20
_STATUSES = (
    "active",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "trialing",
    "unpaid",
)
_DETAILS = p.hash_of(comment=p.text, feedback=p.text)
_ITEM: dict[str, p.Field] = {
    "price": p.text,
    "quantity": p.number(1, 10_000),
    "metadata": p.metadata,
}
_EITHER: p.Fields = {
    **p.COMMON,
    "cancel_at_period_end": p.boolean,
    "collection_method": p.one_of("charge_automatically"),
    "default_payment_method": p.text,
    "description": p.text,
    "off_session": p.boolean,
    "payment_behavior": p.one_of(
        "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
    ),
    "payment_settings": p.hash_of(
        payment_method_options=p.free_hash,
        payment_method_types=p.list_of(p.one_of("card")),
        save_default_payment_method=p.one_of("off", "on_subscription"),
    ),
    "proration_behavior": p.one_of("none", "create_prorations", "always_invoice"),
}
_CREATE: p.Fields = {
    **_EITHER,
    "billing_mode": p.free_hash,
    "currency": p.currency,
    "customer": p.text,
    "items": p.list_of(p.hash_of(**_ITEM)),
    "trial_period_days": p.number(1, 730),
}
_UPDATE: p.Fields = {
    **_EITHER,
    "cancellation_details": _DETAILS,
    "items": p.list_of(p.hash_of(id=p.text, **_ITEM)),
}


def create(tx: Transaction, given: p.Params) -> Object:
    """Subscribe a customer. How a failing first payment ends is said by `payment_behavior`."""
    owner = customer(tx, given["customer"])
    behavior = given.get("payment_behavior") or "allow_incomplete"
    if behavior == "pending_if_incomplete":
        raise invalid("`pending_if_incomplete` can only be used on an update.", "payment_behavior")
    if given.get("default_payment_method"):
        owned(tx, given["default_payment_method"], owner["id"], "default_payment_method")
    made = _new(tx, given)
    trial = given.get("trial_period_days")
    method = default_method(tx, made)
    if not trial and method is None and behavior != "default_incomplete" and _total(made):
        raise invalid(
            "This customer has no attached payment source or default payment method. Please consider adding a "
            "default payment method.",
            code="resource_missing",
        )
    tx.emit("customer.subscription.created", made)
    invoice = new_invoice(tx, made, "subscription_create", free=bool(trial))
    made["latest_invoice"] = invoice["id"]
    if trial or invoice["status"] == "paid":
        change_status(tx, made, "trialing" if trial else "active")
        return made
    tx.save(made)
    if behavior != "default_incomplete" and method is not None:
        try:
            charge(tx, invoice, method)
        except ApiError as error:
            if behavior == "error_if_incomplete":
                error.keep = False
                raise
    return tx.get("subscription", made["id"])


def _new(tx: Transaction, given: p.Params) -> Object:
    trial_end = (
        tx.now + 86_400 * given["trial_period_days"] if given.get("trial_period_days") else None
    )
    settings = given.get("payment_settings") or {}
    made = tx.add(
        "sub",
        "subscription",
        **dict.fromkeys(("application", "cancel_at", "canceled_at", "days_until_due", "ended_at")),
        **dict.fromkeys(("latest_invoice", "pending_setup_intent", "pending_update", "schedule")),
        automatic_tax={"enabled": False},
        billing_cycle_anchor=trial_end or tx.now,
        billing_mode={"type": "flexible"},
        cancel_at_period_end=bool(given.get("cancel_at_period_end")),
        cancellation_details={"comment": None, "feedback": None, "reason": None},
        collection_method="charge_automatically",
        currency="",
        customer=given["customer"],
        default_payment_method=given.get("default_payment_method"),
        description=given.get("description"),
        discounts=[],
        items={},
        metadata=p.merged({}, given.get("metadata")),
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": settings.get("payment_method_types"),
            "save_default_payment_method": settings.get("save_default_payment_method") or "off",
        },
        start_date=tx.now,
        status="incomplete",
        trial_end=trial_end,
        trial_start=tx.now if trial_end else None,
        _cycle=0 if trial_end else 1,
    )
    items = [_item(tx, made["id"], one, f"items[{i}]") for i, one in enumerate(given["items"])]
    if not 1 <= len(items) <= MAX_ITEMS:
        raise invalid(f"A subscription has from 1 to {MAX_ITEMS} items.", "items")
    if len({one["price"]["currency"] for one in items}) != 1:
        raise invalid("All prices of a subscription must have one currency.", "items")
    made["currency"] = items[0]["price"]["currency"]
    if given.get("currency") not in (None, made["currency"]):
        raise invalid("The price is not in this currency.", "currency")
    url = f"/v1/subscription_items?subscription={made['id']}"
    made["items"] = {
        "object": "list",
        "data": items,
        "has_more": False,
        "total_count": len(items),
        "url": url,
    }
    _set_period(made, tx.now, trial_end)
    made["_due"] = trial_end or tx.now + INCOMPLETE_S
    return made


def _item(tx: Transaction, subscription: str, given: p.Params, param: str) -> Object:
    if not given.get("price"):
        raise invalid(
            f"Missing required param: {param}[price].", f"{param}[price]", "parameter_missing"
        )
    return {
        "id": tx.new_id("si"),
        "object": "subscription_item",
        "created": tx.now,
        "current_period_end": 0,
        "current_period_start": 0,
        "metadata": given.get("metadata") or {},
        "price": price_of(tx, given["price"], f"{param}[price]"),
        "quantity": given.get("quantity") or 1,
        "subscription": subscription,
    }


def _total(subscription: Object) -> int:
    return sum(x["price"]["unit_amount"] * x["quantity"] for x in subscription["items"]["data"])


def _set_period(subscription: Object, start: int, end: int | None = None) -> None:
    """Set the current period: up to `end`, else up to the anchor's next return."""
    if end is None:
        every = subscription["items"]["data"][0]["price"]["recurring"]
        count = subscription["_cycle"] * every["interval_count"]
        end = later(subscription["billing_cycle_anchor"], every["interval"], count)
    for item in subscription["items"]["data"]:
        item.update(current_period_start=start, current_period_end=end)


def later(start: int, interval: str, count: int) -> int:
    """Return the time `count` intervals after `start`; the 31st of a shorter month is its last day."""
    at = datetime.fromtimestamp(start, UTC)
    if interval in ("day", "week"):
        return int((at + timedelta(days=count * (7 if interval == "week" else 1))).timestamp())
    months = at.month - 1 + count * (12 if interval == "year" else 1)
    year, month = at.year + months // 12, months % 12 + 1
    day = min(at.day, calendar.monthrange(year, month)[1])
    return int(at.replace(year=year, month=month, day=day).timestamp())


def update(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a subscription; another price counts from the next period on, nothing is prorated."""
    found = _living(tx, one)
    names = ("cancel_at_period_end", "default_payment_method", "description")
    previous = {name: found[name] for name in names if name in given}
    if given.get("default_payment_method"):
        owned(tx, given["default_payment_method"], found["customer"], "default_payment_method")
    found.update({name: given[name] for name in names if name in given})
    found["metadata"] = p.merged(found["metadata"], given.get("metadata"))
    found["payment_settings"].update(given.get("payment_settings") or {})
    found["cancellation_details"].update(given.get("cancellation_details") or {})
    for i, change in enumerate(given.get("items") or []):
        _change_item(tx, found, change, f"items[{i}]")
    if "cancel_at_period_end" in given:
        ends = found["items"]["data"][0]["current_period_end"]
        on = given["cancel_at_period_end"]
        found.update(cancel_at=ends if on else None, canceled_at=tx.now if on else None)
        found["cancellation_details"]["reason"] = "cancellation_requested" if on else None
    tx.emit("customer.subscription.updated", found, previous)
    return tx.save(found)


def _change_item(tx: Transaction, subscription: Object, change: p.Params, param: str) -> None:
    for item in subscription["items"]["data"]:
        if item["id"] == change.get("id"):
            if change.get("price"):
                item["price"] = price_of(tx, change["price"], f"{param}[price]")
            item["quantity"] = change.get("quantity") or item["quantity"]
            return
    raise missing("subscription_item", str(change.get("id")), param=f"{param}[id]")


def cancel(tx: Transaction, given: p.Params, one: str) -> Object:
    """End a subscription now."""
    found = _living(tx, one)
    found["cancellation_details"].update(given.get("cancellation_details") or {})
    return _end(tx, found, "cancellation_requested")


def _end(tx: Transaction, found: Object, reason: str) -> Object:
    found["cancellation_details"]["reason"] = reason
    found.update(
        status="canceled", canceled_at=found["canceled_at"] or tx.now, ended_at=tx.now, _due=None
    )
    if found["latest_invoice"]:
        void(tx, tx.get("invoice", found["latest_invoice"]))
    tx.emit("customer.subscription.deleted", found)
    return tx.save(found)


def _living(tx: Transaction, one: str) -> Object:
    found = tx.get("subscription", one, status=404, param="id")
    if found["status"] in ("canceled", "incomplete_expired"):
        raise missing("subscription", one, status=404)
    return found


def list_subscriptions(tx: Transaction, given: p.Params) -> Object:
    """List subscriptions; those that ended only when they are asked for."""
    where: dict[str, object] = {}
    if given.get("customer"):
        where["customer"] = given["customer"]
    if given.get("price"):
        where[
            "EXISTS (SELECT 1 FROM json_each(body, '$.items.data') WHERE json_extract(value, '$.price.id') = ?)"
        ] = given["price"]
    status = given.get("status")
    if status == "ended":
        where["json_extract(body, '$.ended_at') >= ?"] = 0
    elif status is None:
        where["json_extract(body, '$.status') <> ?"] = "canceled"
    elif status != "all":
        where["status"] = status
    return page(tx, "subscription", "/v1/subscriptions", given, where)


def tick(tx: Transaction) -> int:
    """Do what is due: expire, end, renew. Return how many there were."""
    due = tx.select("subscription", {"due <= ?": tx.now}, tail="ORDER BY due", limit=DUE_AT_ONCE)
    for found in due:
        act: Callable[[Transaction, Object], object] = _renew
        if found["status"] == "incomplete":
            act = _expire
        elif found["cancel_at_period_end"]:
            act = _end_period
        act(tx, found)
    return len(due)


def _expire(tx: Transaction, found: Object) -> None:
    found["_due"] = None
    found["ended_at"] = tx.now
    void(tx, tx.get("invoice", found["latest_invoice"]))
    change_status(tx, found, "incomplete_expired")


def _end_period(tx: Transaction, found: Object) -> None:
    _end(tx, found, "cancellation_requested")


def _renew(tx: Transaction, found: Object) -> None:
    """Begin the next period and charge for it."""
    start = found["items"]["data"][0]["current_period_end"]
    found["_cycle"] += 1
    _set_period(found, start)
    found["_due"] = found["items"]["data"][0]["current_period_end"]
    invoice = new_invoice(tx, found, "subscription_cycle")
    found["latest_invoice"] = invoice["id"]
    change_status(tx, found, "active" if found["status"] == "trialing" else found["status"])
    method = default_method(tx, found)
    if invoice["status"] == "paid":
        return
    if method is None:
        change_status(tx, found, "past_due")
        return
    try:
        charge(tx, invoice, method)
    except ApiError:
        return  # a declined renewal is kept as such: the invoice stays open


_PATH = "/v1/subscriptions"
ROUTES = (
    Route("POST", _PATH, create, _CREATE, ("customer", "items")),
    Route(
        "GET",
        _PATH,
        list_subscriptions,
        {
            **p.PAGE,
            "customer": p.text,
            "price": p.text,
            "status": p.one_of(*_STATUSES, "all", "ended"),
        },
    ),
    retrieving("subscription", f"{_PATH}/{{}}"),
    Route("POST", f"{_PATH}/{{}}", update, _UPDATE),
    Route(
        "DELETE",
        f"{_PATH}/{{}}",
        cancel,
        {
            "cancellation_details": _DETAILS,
            "expand": p.list_of(p.text),
            "invoice_now": p.boolean,
            "prorate": p.boolean,
        },
    ),
)
