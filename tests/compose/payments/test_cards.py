"""The test cards do what Stripe's do, and their numbers are written nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import stripe

from tests.compose.payments.provider import NEVER
from tests.compose.payments.test_resources import charged

if TYPE_CHECKING:
    from pathlib import Path

    from stripe import StripeClient

    from tests.compose.payments.provider import Provider

DECLINED = {
    "4000000000000002": ("card_declined", "generic_decline"),
    "4000000000009995": ("card_declined", "insufficient_funds"),
    "4000000000009987": ("card_declined", "lost_card"),
    "4000000000000069": ("expired_card", "expired_card"),
    "4000000000000127": ("incorrect_cvc", "incorrect_cvc"),
    "4000000000000119": ("processing_error", "processing_error"),
}


def method(client: StripeClient, number: str, year: int = 2040) -> str:
    """Return the id of a payment method with this card."""
    made = client.v1.payment_methods.create(
        {
            "type": "card",
            "card": {"number": number, "exp_month": 12, "exp_year": year, "cvc": "123"},
        }
    )
    return made.id


@pytest.mark.parametrize("number", DECLINED)
def test_a_declined_card_leaves_a_failed_charge(client: StripeClient, number: str) -> None:
    """The refusal says why; the intent waits for another card, which pays it; the failed charge stays on record."""
    intent = client.v1.payment_intents.create(
        {"amount": 1000, "currency": "usd", "automatic_payment_methods": NEVER}
    )
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": method(client, number)})
    error = refused.value.error
    assert error is not None
    assert (refused.value.code, error.decline_code) == DECLINED[number]
    assert (refused.value.http_status, error.type) == (402, "card_error")
    assert error.payment_intent is not None
    assert error.payment_intent.id == intent.id
    waiting = client.v1.payment_intents.retrieve(intent.id)
    assert waiting.status == "requires_payment_method"
    assert waiting.last_payment_error is not None
    assert (waiting.last_payment_error.code, waiting.latest_charge) == (error.code, error.charge)

    assert (
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status
        == "succeeded"
    )
    charges = client.v1.charges.list({"payment_intent": intent.id}).data
    assert [(one.status, one.paid) for one in charges] == [("succeeded", True), ("failed", False)]


def test_a_declining_card_can_not_be_attached(client: StripeClient) -> None:
    """Attaching finds out, except for the card that fails only when it is charged."""
    customer = client.v1.customers.create()
    with pytest.raises(stripe.CardError):
        client.v1.payment_methods.attach("pm_card_visa_chargeDeclined", {"customer": customer.id})
    with pytest.raises(stripe.CardError):
        client.v1.customers.create(
            {"payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"}
        )
    assert len(client.v1.customers.list().data) == 1
    given = client.v1.payment_methods.attach(
        "pm_card_chargeCustomerFail", {"customer": customer.id}
    )
    assert given.customer == customer.id


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_card_that_needs_authentication(
    client: StripeClient, provider: Provider, *, succeeds: bool
) -> None:
    """The intent waits for the card's holder; what they answer decides, and nothing is charged before."""
    waiting = client.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": method(client, "4000002760003184"),
            "confirm": True,
            "return_url": "https://socialflow.example/back",
        }
    )
    assert (waiting.status, waiting.latest_charge) == ("requires_action", None)
    assert waiting.next_action is not None
    assert waiting.next_action.type == "redirect_to_url"
    answered = provider.control(
        "POST", "authenticate", payment_intent=waiting.id, succeeds=succeeds
    )
    assert answered["status"] == ("succeeded" if succeeds else "requires_payment_method")
    assert client.v1.payment_intents.retrieve(waiting.id).amount_received == (
        1000 if succeeds else 0
    )


def test_authentication_without_the_holder_is_a_decline(client: StripeClient) -> None:
    """Off session nobody can be asked: the card is declined, with the code that tells to ask the holder later."""
    with pytest.raises(stripe.CardError) as refused:
        charged(client, payment_method="pm_card_authenticationRequired", off_session=True)
    assert refused.value.code == "authentication_required"


@pytest.mark.parametrize(
    ("number", "year", "code"),
    [
        ("4242424242424241", 2040, "incorrect_number"),
        ("4242424242424242", 2020, "invalid_expiry_year"),
        ("4111111111111111", 2040, "card_declined"),
    ],
)
def test_wrong_cards_are_refused_without_repeating_their_number(
    client: StripeClient, number: str, year: int, code: str
) -> None:
    """A wrong number, an old card and a card that is no test card are no payment methods."""
    with pytest.raises(stripe.CardError) as refused:
        method(client, number, year)
    assert refused.value.code == code
    assert number not in str(refused.value.http_body)


def test_no_number_and_no_key_is_written_anywhere(
    client: StripeClient, provider: Provider, tmp_path: Path
) -> None:
    """Neither the state nor the log holds a card's number, its code, or the secrets."""
    from tests.compose.payments.provider import KEY, SECRET

    intent = charged(client, payment_method=method(client, "4242424242424242"))
    with pytest.raises(stripe.CardError):
        charged(client, payment_method=method(client, "4000000000000002"))
    assert intent.status == "succeeded"
    provider.kill()
    written = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())
    assert intent.id.encode() in written
    for secret in ("4242424242424242", "4000000000000002", KEY, SECRET):
        assert secret.encode() not in written
