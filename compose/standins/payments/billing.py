"""Invoices: what a subscription's period costs, how it is paid, and what the payment does to the subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.charging import attempt, new_intent
from compose.standins.payments.customers import customer, owned
from compose.standins.payments.errors import ApiError, invalid
from compose.standins.payments.resource import Route, listing, retrieving

if TYPE_CHECKING:
    from compose.standins.payments.store import Object, Transaction


def default_method(tx: Transaction, subscription: Object) -> Object | None:
    """Return what a subscription is paid with, None when nothing was given."""
    owner = customer(tx, subscription["customer"])
    given = (
        subscription["default_payment_method"]
        or owner["invoice_settings"]["default_payment_method"]
    )
    found = tx.find("payment_method", given) if given else None
    return found if found and found["customer"] == owner["id"] else None


def new_invoice(
    tx: Transaction, subscription: Object, reason: str, *, free: bool = False
) -> Object:
    """Make the invoice of a subscription's current period; it is open, or paid when it is about nothing."""
    lines = [_line(tx, subscription, item, free=free) for item in subscription["items"]["data"]]
    total = sum(line["amount"] for line in lines)
    first = subscription["items"]["data"][0]
    invoice = tx.add(
        "in",
        "invoice",
        **dict.fromkeys(("amount_due", "amount_remaining", "subtotal", "total"), total),
        **dict.fromkeys(("description", "due_date", "hosted_invoice_url", "next_payment_attempt")),
        amount_paid=0,
        attempt_count=0,
        attempted=False,
        auto_advance=False,
        billing_reason=reason,
        collection_method="charge_automatically",
        currency=subscription["currency"],
        customer=subscription["customer"],
        default_payment_method=None,
        lines={"object": "list", "data": lines, "has_more": False, "url": "/v1/invoices/lines"},
        metadata={},
        number=tx.new_id("X", 8)[2:].upper() + "-0001",
        parent={
            "quote_details": None,
            "subscription_details": {
                "metadata": subscription["metadata"],
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        period_end=first["current_period_end"],
        period_start=first["current_period_start"],
        status="open",
        status_transitions={"finalized_at": tx.now, "paid_at": None, "voided_at": None},
    )
    tx.emit("invoice.created", invoice)
    tx.emit("invoice.finalized", invoice)
    if total == 0:
        _paid(tx, invoice)
    else:
        _ask_for_payment(tx, subscription, invoice)
    return tx.save(invoice)


def _line(tx: Transaction, subscription: Object, item: Object, *, free: bool) -> Object:
    price = item["price"]
    return {
        "id": tx.new_id("il"),
        "object": "line_item",
        "amount": 0 if free else price["unit_amount"] * item["quantity"],
        "currency": price["currency"],
        "description": price["nickname"],
        "livemode": False,
        "metadata": subscription["metadata"],
        "parent": {
            "subscription_item_details": {
                "proration": False,
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": item["quantity"],
    }


def _ask_for_payment(tx: Transaction, subscription: Object, invoice: Object) -> None:
    method = default_method(tx, subscription)
    intent = new_intent(
        tx,
        invoice["total"],
        invoice["currency"],
        customer=invoice["customer"],
        description="Subscription",
        payment_method=method and method["id"],
        setup_future_usage="off_session",
        status="requires_confirmation" if method else "requires_payment_method",
        _invoice=invoice["id"],
    )
    tx.add(
        "inpay",
        "invoice_payment",
        amount_paid=None,
        amount_requested=invoice["total"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
        status_transitions={"canceled_at": None, "paid_at": None},
    )
    invoice["_intent"] = intent["id"]


def charge(tx: Transaction, invoice: Object, method: Object) -> None:
    """Charge an open invoice without its holder. Raises an `ApiError` that keeps the attempt."""
    intent = tx.get("payment_intent", invoice["_intent"])
    try:
        attempt(tx, intent, method, off_session=invoice["billing_reason"] == "subscription_cycle")
    finally:
        settled(tx, intent)


def settled(tx: Transaction, intent: Object) -> None:
    """Tell the invoice behind an intent, if there is one, how the attempt went; and its subscription."""
    if not intent.get("_invoice"):
        return
    invoice = tx.get("invoice", intent["_invoice"])
    if invoice["status"] != "open":
        return
    subscription = tx.get("subscription", invoice["parent"]["subscription_details"]["subscription"])
    invoice.update(attempted=True)
    if intent["status"] == "succeeded":
        _paid(tx, invoice)
        _activate(tx, subscription, intent)
    elif intent["status"] == "requires_action":
        tx.emit("invoice.payment_action_required", invoice)
    else:
        invoice["attempt_count"] += 1
        tx.emit("invoice.payment_failed", invoice)
        if invoice["billing_reason"] == "subscription_cycle":
            change_status(tx, subscription, "past_due")
    tx.save(invoice)


def _paid(tx: Transaction, invoice: Object) -> None:
    invoice.update(status="paid", attempted=True, amount_paid=invoice["total"], amount_remaining=0)
    invoice["attempt_count"] += 1 if invoice["total"] else 0
    invoice["status_transitions"]["paid_at"] = tx.now
    for payment in tx.select("invoice_payment", {"invoice": invoice["id"]}):
        payment.update(status="paid", amount_paid=invoice["total"])
        payment["status_transitions"]["paid_at"] = tx.now
        tx.emit("invoice_payment.paid", tx.save(payment))
    tx.emit("invoice.paid", invoice)
    tx.emit("invoice.payment_succeeded", invoice)


def _activate(tx: Transaction, subscription: Object, intent: Object) -> None:
    if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        subscription["default_payment_method"] = intent["payment_method"]
    subscription["_due"] = subscription["items"]["data"][0]["current_period_end"]
    if subscription["status"] in ("incomplete", "past_due"):
        change_status(tx, subscription, "active")
    tx.save(subscription)


def change_status(tx: Transaction, subscription: Object, status: str) -> None:
    """Set a subscription's status, with the event of it."""
    previous = {"status": subscription["status"]}
    subscription["status"] = status
    tx.emit("customer.subscription.updated", tx.save(subscription), previous)


def void(tx: Transaction, invoice: Object) -> None:
    """Void an open invoice and give its intent up."""
    if invoice["status"] != "open":
        return
    intent = tx.get("payment_intent", invoice["_intent"])
    if intent["status"] not in ("succeeded", "canceled"):
        intent.update(
            status="canceled",
            canceled_at=tx.now,
            cancellation_reason="void_invoice",
            next_action=None,
        )
        tx.emit("payment_intent.canceled", tx.save(intent))
    for payment in tx.select("invoice_payment", {"invoice": invoice["id"]}):
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = tx.now
        tx.save(payment)
    invoice["status"] = "void"
    invoice["status_transitions"]["voided_at"] = tx.now
    tx.emit("invoice.voided", tx.save(invoice))


def pay(tx: Transaction, given: p.Params, one: str) -> Object:
    """Charge an open invoice now."""
    invoice = tx.get("invoice", one, status=404, param="invoice")
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] != "open":
        raise ApiError(400, f"The invoice can not be paid: it is {invoice['status']}.")
    subscription = tx.get("subscription", invoice["parent"]["subscription_details"]["subscription"])
    if given.get("payment_method"):
        method = owned(tx, given["payment_method"], invoice["customer"], "payment_method")
    else:
        found = default_method(tx, subscription)
        if found is None:
            raise invalid("There is no default payment method set on this Customer or Invoice.")
        method = found
    charge(tx, invoice, method)
    return tx.get("invoice", one)


def list_payments(tx: Transaction, given: p.Params) -> Object:
    """List what invoices were paid with."""
    return _payments.act(
        tx, {**given, "payment": (given.get("payment") or {}).get("payment_intent")}
    )


_payments = listing(
    "invoice_payment",
    "/v1/invoice_payments",
    {
        "invoice": p.text,
        "payment": p.hash_of(payment_intent=p.text, type=p.one_of("payment_intent")),
        "status": p.one_of("canceled", "open", "paid"),
    },
    names={"payment": "payment.payment_intent"},
)
_INVOICES: p.Fields = {
    "customer": p.text,
    "status": p.one_of("draft", "open", "paid", "uncollectible", "void"),
    "subscription": p.text,
}
ROUTES = (
    listing(
        "invoice",
        "/v1/invoices",
        _INVOICES,
        names={"subscription": "parent.subscription_details.subscription"},
    ),
    retrieving("invoice", "/v1/invoices/{}"),
    Route(
        "POST",
        "/v1/invoices/{}/pay",
        pay,
        {"expand": p.list_of(p.text), "payment_method": p.text, "off_session": p.boolean},
    ),
    Route("GET", "/v1/invoice_payments", list_payments, _payments.fields),
    retrieving("invoice_payment", "/v1/invoice_payments/{}"),
)
