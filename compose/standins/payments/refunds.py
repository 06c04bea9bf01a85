"""Refunds: money that goes back, never more than came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.errors import ApiError, invalid
from compose.standins.payments.resource import Route, listing, retrieving

if TYPE_CHECKING:
    from compose.standins.payments.store import Object, Transaction

_CREATE: p.Fields = {
    **p.COMMON,
    "amount": p.amount,
    "charge": p.text,
    "payment_intent": p.text,
    "reason": p.one_of("duplicate", "fraudulent", "requested_by_customer"),
}


def create(tx: Transaction, given: p.Params) -> Object:
    """Give a charge's money back, all that is left of it or a part."""
    charge = _charge(tx, given)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["refunded"] or left == 0:
        raise ApiError(
            400, f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    amount = given.get("amount") or left
    if amount > left:
        raise invalid(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
            "amount",
        )
    refund = tx.add(
        "re",
        "refund",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"card": {"type": "refund"}, "type": "card"},
        metadata=p.merged({}, given.get("metadata")),
        payment_intent=charge["payment_intent"],
        reason=given.get("reason"),
        receipt_number=None,
        source_transfer_reversal=None,
        status="succeeded",
        transfer_reversal=None,
    )
    entry = tx.move(charge["currency"], -amount, "refund", refund["id"])
    refund["balance_transaction"] = entry["id"]
    previous = {name: charge[name] for name in ("amount_refunded", "refunded")}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    tx.save(charge)
    tx.emit("refund.created", refund)
    tx.emit("charge.refunded", charge, previous)
    return tx.save(refund)


def _charge(tx: Transaction, given: p.Params) -> Object:
    if given.get("charge"):
        charge = tx.get("charge", given["charge"])
    elif given.get("payment_intent"):
        intent = tx.get("payment_intent", given["payment_intent"])
        if not intent["latest_charge"]:
            raise invalid(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                "payment_intent",
            )
        charge = tx.get("charge", intent["latest_charge"])
    else:
        raise ApiError(
            400,
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    if not charge["captured"] or charge["status"] != "succeeded":
        raise invalid(
            f"Charge {charge['id']} was not captured: there is nothing to refund.", "charge"
        )
    return charge


def update(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a refund's metadata."""
    refund = tx.get("refund", one, status=404, param="id")
    refund["metadata"] = p.merged(refund["metadata"], given.get("metadata"))
    tx.emit("refund.updated", refund)
    return tx.save(refund)


ROUTES = (
    Route("POST", "/v1/refunds", create, _CREATE),
    listing("refund", "/v1/refunds", {"charge": p.text, "payment_intent": p.text}),
    retrieving("refund", "/v1/refunds/{}"),
    Route("POST", "/v1/refunds/{}", update, p.COMMON),
)
