"""Customers and their payment methods."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.cards import BY_TOKEN, Card, decline, from_form
from compose.standins.payments.errors import invalid, missing
from compose.standins.payments.resource import Route, listing, page

if TYPE_CHECKING:
    from compose.standins.payments.store import Object, Transaction

_ADDRESS = p.hash_of(
    **dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), p.text)
)
_CUSTOMER: p.Fields = {
    **p.COMMON,
    "address": _ADDRESS,
    "description": p.text,
    "email": p.text,
    "invoice_settings": p.hash_of(default_payment_method=p.text),
    "name": p.text,
    "payment_method": p.text,
    "phone": p.text,
    "preferred_locales": p.list_of(p.text),
}
_PLAIN = ("address", "description", "email", "name", "phone")
_CARD = p.hash_of(
    number=p.text,
    exp_month=p.number(1, 12),
    exp_year=p.number(0, 9999),
    cvc=p.text,
    token=p.text,
)


def customer(tx: Transaction, given: str, *, param: str = "customer", status: int = 400) -> Object:
    """Return a customer that was not deleted. Raises `ApiError`."""
    found = tx.get("customer", given, param=param, status=status)
    if found.get("deleted"):
        raise missing("customer", given, param=param, status=status)
    return found


def create(tx: Transaction, given: p.Params) -> Object:
    """Make a customer, with its first payment method when one is given."""
    made = tx.add(
        "cus",
        "customer",
        **{name: given.get(name) for name in _PLAIN},
        balance=0,
        currency=None,
        default_source=None,
        delinquent=False,
        discount=None,
        invoice_prefix=tx.new_id("x", 8)[2:].upper(),
        invoice_settings={
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        metadata=p.merged({}, given.get("metadata")),
        next_invoice_sequence=1,
        preferred_locales=given.get("preferred_locales") or [],
        shipping=None,
        tax_exempt="none",
        test_clock=None,
    )
    tx.emit("customer.created", made)
    if given.get("payment_method"):
        method = attached(tx, given["payment_method"], made["id"])
        if ((given.get("invoice_settings") or {}).get("default_payment_method")) == given[
            "payment_method"
        ]:
            given["invoice_settings"]["default_payment_method"] = method["id"]
    _settle(tx, made, given)
    return tx.save(made)


def update(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a customer."""
    found = customer(tx, one, param="id", status=404)
    previous = {name: found[name] for name in _PLAIN if name in given}
    found.update({name: given[name] for name in _PLAIN if name in given})
    if "metadata" in given:
        previous["metadata"] = found["metadata"]
        found["metadata"] = p.merged(found["metadata"], given["metadata"])
    _settle(tx, found, given)
    tx.emit("customer.updated", found, previous)
    return tx.save(found)


def _settle(tx: Transaction, body: Object, given: p.Params) -> None:
    if (settings := given.get("invoice_settings")) is not None:
        name = "default_payment_method"
        if settings.get(name):
            owned(tx, settings[name], body["id"], f"invoice_settings[{name}]")
        if name in settings:
            body["invoice_settings"][name] = settings[name]


def delete(tx: Transaction, _given: p.Params, one: str) -> Object:
    """Forget a customer; what was charged stays."""
    found = customer(tx, one, param="id", status=404)
    gone = {"id": one, "object": "customer", "deleted": True}
    tx.save(gone)
    tx.emit("customer.deleted", found)
    for method in tx.select("payment_method", {"customer": one}):
        tx.save({**method, "customer": None, "_used": True})
    return gone


def retrieve(tx: Transaction, _given: p.Params, one: str) -> Object:
    """Return a customer; of a deleted one that it is."""
    return tx.get("customer", one, param="id", status=404)


def new_method(tx: Transaction, card: Card, **more: object) -> Object:
    """Keep a payment method of a test card."""
    year = time.gmtime(tx.now).tm_year + 2
    return tx.add(
        "pm",
        "payment_method",
        allow_redisplay="unspecified",
        billing_details=more.get("billing_details")
        or {"address": None, "email": None, "name": None, "phone": None},
        card={
            "brand": card.brand,
            "checks": {"address_line1_check": None, "cvc_check": "unchecked"},
            "country": "US",
            "display_brand": card.brand,
            "exp_month": more.get("exp_month") or 12,
            "exp_year": more.get("exp_year") or year,
            "funding": "debit" if card.token.endswith("debit") else "credit",
            "last4": card.number[-4:],
            "networks": {"available": [card.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
        },
        customer=None,
        metadata=more.get("metadata") or {},
        type="card",
        _card=card.token,
    )


def create_method(tx: Transaction, given: p.Params) -> Object:
    """Make a payment method of a card."""
    if not given.get("card"):
        raise invalid("Missing required param: card.", "card", "parameter_missing")
    today = time.gmtime(tx.now)
    details = given["card"]
    card = from_form(details, today.tm_year, today.tm_mon)
    dates = {name: details.get(name) for name in ("exp_month", "exp_year")}
    return new_method(
        tx,
        card,
        **dates,
        billing_details=given.get("billing_details"),
        metadata=given.get("metadata"),
    )


def method_of(tx: Transaction, given: str, param: str = "payment_method") -> Object:
    """Return a payment method; a test token (`pm_card_visa`) makes a new one. Raises `ApiError`."""
    card = BY_TOKEN.get(given)
    if card is not None:
        return new_method(tx, card)
    return tx.get("payment_method", given, param=param)


def owned(tx: Transaction, given: str, owner: str, param: str) -> Object:
    """Return a payment method that belongs to a customer. Raises `ApiError`."""
    found = tx.get("payment_method", given, param=param)
    if found["customer"] != owner:
        raise invalid(
            "The customer does not have a payment method with the ID given. "
            "The payment method must be attached to the customer.",
            param,
            "resource_missing",
        )
    return found


def attached(tx: Transaction, given: str, owner: str) -> Object:
    """Attach a payment method. Raises `ApiError`: a declining card is found out here."""
    found = method_of(tx, given)
    if found["customer"] not in (None, owner):
        raise invalid(
            "The payment method you provided has already been attached to a customer.",
            "payment_method",
            "payment_method_already_attached",
        )
    if found.get("_used"):
        raise invalid(
            "This PaymentMethod was previously used without being attached to a Customer or was "
            "detached from a Customer, and may not be used again.",
            "payment_method",
            "payment_method_unexpected_state",
        )
    card = BY_TOKEN[found["_card"]]
    if card.declined and not card.attachable:
        raise decline(card, param="")
    found["customer"] = owner
    tx.emit("payment_method.attached", found)
    return tx.save(found)


def attach(tx: Transaction, given: p.Params, one: str) -> Object:
    """Give a payment method to a customer."""
    return attached(tx, one, customer(tx, given["customer"])["id"])


def detach(tx: Transaction, _given: p.Params, one: str) -> Object:
    """Take a payment method from its customer, for good."""
    found = tx.get("payment_method", one, status=404, param="id")
    if found["customer"] is None:
        raise invalid(
            "The payment method you provided is not attached to a customer.", "payment_method"
        )
    previous = {"customer": found["customer"]}
    found.update(customer=None, _used=True)
    tx.emit("payment_method.detached", found, previous)
    return tx.save(found)


def update_method(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a payment method."""
    found = tx.get("payment_method", one, status=404, param="id")
    found["metadata"] = p.merged(found["metadata"], given.get("metadata"))
    found["billing_details"] = given.get("billing_details") or found["billing_details"]
    tx.emit("payment_method.updated", found)
    return tx.save(found)


def retrieve_method(tx: Transaction, _given: p.Params, *ids: str) -> Object:
    """Return a payment method, also as one of its customer."""
    found = method_of(tx, ids[-1]) if ids[-1] in BY_TOKEN else tx.find("payment_method", ids[-1])
    if found is None or (len(ids) > 1 and found["customer"] != ids[0]):
        raise missing("payment_method", ids[-1], status=404)
    return found


def methods(tx: Transaction, given: p.Params, owner: str) -> Object:
    """List a customer's payment methods."""
    customer(tx, owner, param="id", status=404)
    where = {"customer": owner} | ({"type": given["type"]} if given.get("type") else {})
    return page(tx, "payment_method", f"/v1/customers/{owner}/payment_methods", given, where)


_EXPAND: p.Fields = {"expand": p.list_of(p.text)}
_METHOD: p.Fields = {**p.COMMON, "billing_details": p.free_hash, "allow_redisplay": p.text}
ROUTES = (
    Route("POST", "/v1/customers", create, _CUSTOMER),
    listing("customer", "/v1/customers", {"email": p.text}),
    Route("GET", "/v1/customers/{}", retrieve, _EXPAND),
    Route("POST", "/v1/customers/{}", update, _CUSTOMER),
    Route("DELETE", "/v1/customers/{}", delete),
    Route("GET", "/v1/customers/{}/payment_methods", methods, {**p.PAGE, "type": p.text}),
    Route("GET", "/v1/customers/{}/payment_methods/{}", retrieve_method, _EXPAND),
    Route(
        "POST",
        "/v1/payment_methods",
        create_method,
        {**_METHOD, "type": p.one_of("card"), "card": _CARD},
        ("type",),
    ),
    listing("payment_method", "/v1/payment_methods", {"customer": p.text, "type": p.text}),
    Route("GET", "/v1/payment_methods/{}", retrieve_method, _EXPAND),
    Route("POST", "/v1/payment_methods/{}", update_method, _METHOD),
    Route(
        "POST",
        "/v1/payment_methods/{}/attach",
        attach,
        {**_EXPAND, "customer": p.text},
        ("customer",),
    ),
    Route("POST", "/v1/payment_methods/{}/detach", detach, _EXPAND),
)
