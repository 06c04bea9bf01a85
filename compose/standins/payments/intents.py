"""Payment intents: create, confirm, authenticate, capture, cancel; and their charges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.billing import settled
from compose.standins.payments.cards import BY_TOKEN, Card
from compose.standins.payments.charging import attempt, fail, new_intent, settle, unexpected
from compose.standins.payments.customers import create_method, customer, method_of
from compose.standins.payments.errors import ApiError, invalid
from compose.standins.payments.resource import Route, listing, retrieving

if TYPE_CHECKING:
    from compose.standins.payments.store import Object, Transaction

MINIMUM = {
    "usd": 50,
    "eur": 50,
    "gbp": 30,
    "chf": 50,
    "sek": 300,
    "dkk": 250,
    "nok": 300,
    "pln": 200,
}
DEFAULT_MINIMUM = 50
_UNCONFIRMED = ("requires_payment_method", "requires_confirmation")
_OPEN = (*_UNCONFIRMED, "requires_action", "requires_capture")
_METHOD_DATA = p.hash_of(
    type=p.one_of("card"),
    card=p.hash_of(
        token=p.text,
        number=p.text,
        cvc=p.text,
        exp_month=p.number(1, 12),
        exp_year=p.number(0, 9999),
    ),
    billing_details=p.free_hash,
    metadata=p.metadata,
)
_CONFIRM: p.Fields = {
    "expand": p.list_of(p.text),
    "capture_method": p.one_of("automatic", "automatic_async", "manual"),
    "error_on_requires_action": p.boolean,
    "mandate": p.text,
    "mandate_data": p.free_hash,
    "off_session": p.boolean,
    "payment_method": p.text,
    "payment_method_data": _METHOD_DATA,
    "payment_method_options": p.free_hash,
    "payment_method_types": p.list_of(p.one_of("card")),
    "receipt_email": p.text,
    "return_url": p.text,
    "setup_future_usage": p.one_of("off_session", "on_session"),
    "use_stripe_sdk": p.boolean,
}
_PLAIN: p.Fields = {
    "customer": p.text,
    "description": p.text,
    "metadata": p.metadata,
    "statement_descriptor": p.text,
    "statement_descriptor_suffix": p.text,
    "transfer_group": p.text,
}
_CREATE: p.Fields = {
    **_CONFIRM,
    **_PLAIN,
    "amount": p.amount,
    "automatic_payment_methods": p.hash_of(
        enabled=p.boolean, allow_redirects=p.one_of("always", "never")
    ),
    "confirm": p.boolean,
    "confirmation_method": p.one_of("automatic", "manual"),
    "currency": p.currency,
}


def create(tx: Transaction, given: p.Params) -> Object:
    """Make a payment intent, and confirm it when that is asked for."""
    _check_amount(given["amount"], given["currency"])
    if given.get("customer"):
        customer(tx, given["customer"])
    names = (
        *_PLAIN,
        "capture_method",
        "confirmation_method",
        "receipt_email",
        "setup_future_usage",
    )
    fields = {name: given[name] for name in names if given.get(name) is not None}
    fields["metadata"] = p.merged({}, given.get("metadata"))
    automatic = given.get("automatic_payment_methods")
    if automatic is not None or not given.get("payment_method_types"):
        automatic = automatic or {"enabled": True}
        fields["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
    intent = new_intent(tx, given["amount"], given["currency"], **fields)
    _choose(tx, intent, given)
    if given.get("confirm"):
        return _confirm(tx, intent, given)
    return tx.save(intent)


def update(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change an intent that was not confirmed; its description and metadata at any time."""
    intent = tx.get("payment_intent", one, status=404, param="intent")
    if set(given) - {"metadata", "description", "expand"} and intent["status"] not in _UNCONFIRMED:
        raise unexpected(intent, "update")
    if given.get("customer"):
        customer(tx, given["customer"])
    names = (*_PLAIN, "amount", "currency", "receipt_email", "setup_future_usage")
    metadata = p.merged(intent["metadata"], given.get("metadata"))
    intent.update({name: given[name] for name in names if name in given}, metadata=metadata)
    for name in ("amount", "currency"):
        if intent[name] is None:
            raise invalid(f"Invalid {name}: it can not be unset.", name)
    _check_amount(intent["amount"], intent["currency"])
    _choose(tx, intent, given)
    return tx.save(intent)


def confirm(tx: Transaction, given: p.Params, one: str) -> Object:
    """Charge an intent's payment method."""
    intent = tx.get("payment_intent", one, status=404, param="intent")
    if intent["status"] not in (*_UNCONFIRMED, "requires_action"):
        raise unexpected(intent, "confirm")
    _choose(tx, intent, given)
    return _confirm(tx, intent, given)


def _confirm(tx: Transaction, intent: Object, given: p.Params) -> Object:
    if not intent["payment_method"]:
        raise ApiError(
            400,
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the "
            "PaymentIntent with a payment method and then confirm it again.",
            code="payment_intent_unexpected_state",
        )
    automatic = intent["automatic_payment_methods"]
    if automatic and automatic.get("allow_redirects") != "never" and not given.get("return_url"):
        raise invalid(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. "
            "If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never`."
        )
    if given.get("capture_method"):
        intent["capture_method"] = given["capture_method"]
    intent["_error_on_requires_action"] = bool(given.get("error_on_requires_action"))
    method = tx.get("payment_method", intent["payment_method"])
    tx.save(intent)
    _charged(
        tx,
        intent,
        method,
        off_session=bool(given.get("off_session")),
        return_url=given.get("return_url"),
    )
    return tx.save(intent)


def _charged(tx: Transaction, intent: Object, method: Object, **how: object) -> None:
    """Attempt the charge and tell the invoice behind the intent, if there is one, how it went."""
    try:
        attempt(tx, intent, method, **how)  # type: ignore[arg-type] # passed on as they came
    finally:
        settled(tx, intent)


def _choose(tx: Transaction, intent: Object, given: p.Params) -> None:
    """Take the payment method that a request names."""
    if data := given.get("payment_method_data"):
        method = create_method(tx, data)
    elif given.get("payment_method"):
        method = method_of(tx, given["payment_method"])
    else:
        return
    if method["customer"] not in (None, intent["customer"]):
        raise invalid(
            "The provided PaymentMethod belongs to another Customer. You must provide its Customer.",
            "payment_method",
        )
    if method.get("_used"):
        raise invalid(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
            "shared with a connected account without Customer attachment, or was detached from a Customer. It may "
            "not be used again.",
            "payment_method",
            "payment_method_unexpected_state",
        )
    intent.update(payment_method=method["id"], status="requires_confirmation")


def capture(tx: Transaction, given: p.Params, one: str) -> Object:
    """Take the money that was reserved, or a part of it; the rest is let go."""
    intent = tx.get("payment_intent", one, status=404, param="intent")
    if intent["status"] != "requires_capture":
        raise unexpected(intent, "capture")
    amount = given.get("amount_to_capture") or intent["amount_capturable"]
    if amount > intent["amount_capturable"]:
        raise ApiError(
            400,
            "The provided amount_to_capture is greater than the remaining amount you can capture.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    charge = tx.get("charge", intent["latest_charge"])
    settle(tx, charge, amount)
    tx.emit("charge.captured", tx.save(charge))
    intent["metadata"] = p.merged(intent["metadata"], given.get("metadata"))
    intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
    tx.emit("payment_intent.succeeded", intent)
    return tx.save(intent)


def cancel(tx: Transaction, given: p.Params, one: str) -> Object:
    """Give an intent up; what was reserved is let go."""
    intent = tx.get("payment_intent", one, status=404, param="intent")
    if intent["status"] not in _OPEN:
        raise unexpected(intent, "cancel")
    if intent["status"] == "requires_capture":
        charge = tx.get("charge", intent["latest_charge"])
        tx.save({**charge, "refunded": True, "amount_refunded": charge["amount"]})
    intent.update(
        status="canceled",
        amount_capturable=0,
        canceled_at=tx.now,
        cancellation_reason=given.get("cancellation_reason"),
        next_action=None,
    )
    tx.emit("payment_intent.canceled", intent)
    return tx.save(intent)


def authenticate(tx: Transaction, one: str, *, succeeds: bool) -> Object:
    """Be the card's holder, who is asked by the bank."""
    intent = tx.get("payment_intent", one, status=404)
    if intent["status"] != "requires_action":
        raise unexpected(intent, "authenticate")
    method = tx.get("payment_method", intent["payment_method"])
    if succeeds:
        _charged(tx, intent, method, authenticated=True)
    else:
        code = "payment_intent_authentication_failure"
        card = Card(BY_TOKEN[method["_card"]].number, method["_card"], code=code)
        try:
            fail(tx, intent, method, card)
        except ApiError:
            settled(tx, intent)
    return tx.save(intent)


def _check_amount(amount: int, currency: str) -> None:
    least = MINIMUM.get(currency, DEFAULT_MINIMUM)
    if amount < least:
        raise invalid(
            f"Amount must be at least {least} {currency} in the minor unit.",
            "amount",
            "amount_too_small",
        )


_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")
_PATH = "/v1/payment_intents"
_UPDATE = {
    name: field
    for name, field in _CREATE.items()
    if name not in ("confirm", "confirmation_method", "automatic_payment_methods", "off_session")
}
ROUTES = (
    Route("POST", _PATH, create, _CREATE, ("amount", "currency")),
    listing("payment_intent", _PATH, {"customer": p.text}),
    Route(
        "GET",
        f"{_PATH}/{{}}",
        retrieving("payment_intent", "").act,
        {"expand": p.list_of(p.text), "client_secret": p.text},
    ),
    Route("POST", f"{_PATH}/{{}}", update, _UPDATE),
    Route("POST", f"{_PATH}/{{}}/confirm", confirm, _CONFIRM),
    Route(
        "POST",
        f"{_PATH}/{{}}/capture",
        capture,
        {**p.COMMON, "amount_to_capture": p.amount, "final_capture": p.boolean},
    ),
    Route(
        "POST",
        f"{_PATH}/{{}}/cancel",
        cancel,
        {"expand": p.list_of(p.text), "cancellation_reason": p.one_of(*_REASONS)},
    ),
    listing(
        "charge",
        "/v1/charges",
        {"customer": p.text, "payment_intent": p.text, "transfer_group": p.text},
    ),
    retrieving("charge", "/v1/charges/{}"),
)
