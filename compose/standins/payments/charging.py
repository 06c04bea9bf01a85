"""How money moves from a card: one attempt for a payment intent, and what becomes of it."""

from __future__ import annotations

from typing import Any

from compose.standins.payments.cards import BY_TOKEN, Card, decline, message
from compose.standins.payments.errors import ApiError
from compose.standins.payments.store import Object, Transaction, public

_BLANK: Object = {
    **dict.fromkeys(
        (
            "application",
            "application_fee_amount",
            "automatic_payment_methods",
            "canceled_at",
            "cancellation_reason",
            "client_secret",
            "customer",
            "description",
            "last_payment_error",
            "latest_charge",
            "next_action",
            "on_behalf_of",
            "payment_method",
            "processing",
            "receipt_email",
            "review",
            "setup_future_usage",
            "shipping",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_data",
            "transfer_group",
        )
    ),
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "capture_method": "automatic_async",
    "confirmation_method": "automatic",
    "metadata": {},
    "payment_method_options": {},
    "payment_method_types": ["card"],
    "status": "requires_payment_method",
    "_error_on_requires_action": False,
}


def new_intent(tx: Transaction, amount: int, currency: str, **fields: object) -> Object:
    """Keep a new payment intent that waits for its payment method."""
    secret = tx.new_id("secret", 25)
    made = tx.add(
        "pi", "payment_intent", **{**_BLANK, "amount": amount, "currency": currency, **fields}
    )
    made["client_secret"] = f"{made['id']}_{secret}"
    tx.emit("payment_intent.created", tx.save(made))
    return made


def attempt(
    tx: Transaction,
    intent: Object,
    method: Object,
    *,
    off_session: bool = False,
    authenticated: bool = False,
    return_url: str | None = None,
) -> None:
    """Charge the intent's amount to a payment method.

    Afterwards the intent has succeeded, waits for its capture or for the holder's authentication. Raises
    an `ApiError` that keeps what happened when the card is declined.
    """
    card = BY_TOKEN[method["_card"]]
    intent["payment_method"] = method["id"]
    intent["next_action"] = None
    if card.authentication and not authenticated:
        if off_session or intent["_error_on_requires_action"]:
            fail(
                tx,
                intent,
                method,
                Card(
                    card.number,
                    card.token,
                    code="authentication_required",
                    decline_code="authentication_required",
                ),
            )
        intent["status"] = "requires_action"
        intent["next_action"] = _next_action(intent, return_url)
        tx.emit("payment_intent.requires_action", tx.save(intent))
        return
    if card.declined:
        fail(tx, intent, method, card)
    if method["customer"] is None:
        _use_up(tx, intent, method)
    _charge(tx, intent, method)


def _use_up(tx: Transaction, intent: Object, method: Object) -> None:
    """Let the customer keep a method that is nobody's when that was asked for; else it was good for one charge."""
    if intent["setup_future_usage"] and intent["customer"]:
        method["customer"] = intent["customer"]
        tx.emit("payment_method.attached", tx.save(method))
    else:
        tx.save({**method, "_used": True})


def fail(tx: Transaction, intent: Object, method: Object, card: Card) -> None:
    """Keep a declined attempt and raise the refusal of it."""
    charge = _new_charge(tx, intent, method, paid=False, captured=False)
    refusal = decline(card, charge=charge["id"])
    charge.update(
        status="failed",
        failure_code=refusal.error["code"],
        failure_message=refusal.error["message"],
        outcome={
            "network_status": "declined_by_network",
            "reason": card.decline_code,
            "risk_level": "normal",
            "seller_message": message(card.code or "", card.decline_code),
            "type": "issuer_declined",
        },
    )
    tx.emit("charge.failed", tx.save(charge))
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        latest_charge=charge["id"],
        last_payment_error={**refusal.error, "payment_method": public(method)},
    )
    tx.emit("payment_intent.payment_failed", tx.save(intent))
    refusal.error["payment_intent"] = public(intent)
    refusal.error["payment_method"] = public(method)
    raise refusal


def _charge(tx: Transaction, intent: Object, method: Object) -> None:
    captured = intent["capture_method"] != "manual"
    charge = _new_charge(tx, intent, method, paid=True, captured=captured)
    charge["outcome"] = {
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "seller_message": "Payment complete.",
        "type": "authorized",
    }
    if captured:
        settle(tx, charge, charge["amount"])
    tx.emit("charge.succeeded", tx.save(charge))
    intent.update(latest_charge=charge["id"], last_payment_error=None)
    if captured:
        intent.update(status="succeeded", amount_received=charge["amount"])
        tx.emit("payment_intent.succeeded", tx.save(intent))
    else:
        intent.update(status="requires_capture", amount_capturable=charge["amount"])
        tx.emit("payment_intent.amount_capturable_updated", tx.save(intent))


def settle(tx: Transaction, charge: Object, amount: int) -> None:
    """Move a charge's money to the platform."""
    entry = tx.move(charge["currency"], amount, "charge", charge["id"])
    charge.update(captured=True, amount_captured=amount, balance_transaction=entry["id"])


def _new_charge(
    tx: Transaction, intent: Object, method: Object, *, paid: bool, captured: bool
) -> Object:
    return tx.add(
        "ch",
        "charge",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        balance_transaction=None,
        billing_details=method["billing_details"],
        calculated_statement_descriptor="SOCIALFLOW",
        captured=captured,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_code=None,
        failure_message=None,
        fraud_details={},
        metadata=intent["metadata"],
        outcome=None,
        paid=paid,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": "card", "card": method["card"]},
        receipt_email=intent["receipt_email"],
        receipt_number=None,
        receipt_url=None,
        refunded=False,
        review=None,
        shipping=None,
        source_transfer=None,
        statement_descriptor=None,
        status="succeeded",
        transfer_group=intent["transfer_group"],
    )


def _next_action(intent: Object, return_url: str | None) -> dict[str, Any]:
    if return_url:
        # Nobody browses here: whoever plays the holder answers by the provider's control.
        url = f"https://hooks.stripe.com/3d_secure_2/{intent['id']}"
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": return_url, "url": url},
        }
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}


def unexpected(intent: Object, verb: str) -> ApiError:
    """Return the refusal of what an intent's status does not allow."""
    return ApiError(
        400,
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=public(intent),
    )
