"""Every resource works with the real SDK, and every request in it is one that Stripe knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import stripe

from tests.compose.payments.provider import NEVER

if TYPE_CHECKING:
    from stripe import StripeClient
    from stripe.params import SubscriptionCreateParams


def monthly(client: StripeClient, amount: int = 999) -> str:
    """Return the id of a monthly price."""
    product = client.v1.products.create({"name": "Plus", "metadata": {"plan": "plus"}})
    price = client.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": amount,
            "recurring": {"interval": "month"},
            "lookup_key": f"plus-{product.id}",
        }
    )
    return price.id


def payer(client: StripeClient, card: str = "pm_card_visa") -> stripe.Customer:
    """Return a customer who pays with this card."""
    customer = client.v1.customers.create(
        {"email": "a@listener.example", "metadata": {"user": "1"}}
    )
    method = client.v1.payment_methods.attach(card, {"customer": customer.id})
    return client.v1.customers.update(
        customer.id, {"invoice_settings": {"default_payment_method": method.id}}
    )


def fields(found: stripe.StripeObject | None) -> dict[str, object]:
    """Return what an object of the SDK holds."""
    assert found is not None
    held: dict[str, object] = found.to_dict()
    return held


def charged(client: StripeClient, amount: int = 1000, **more: object) -> stripe.PaymentIntent:
    """Return an intent that was paid."""
    return client.v1.payment_intents.create(
        {
            "amount": amount,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "automatic_payment_methods": NEVER,
            "confirm": True,
            **more,  # type: ignore[typeddict-item] # what a test adds
        }
    )


def test_customers_and_their_payment_methods(client: StripeClient) -> None:
    """A customer is made, changed, found by e-mail and deleted; its methods are attached, listed and detached."""
    customer = client.v1.customers.create({"email": "a@listener.example", "name": "A"})
    client.v1.customers.create({"email": "b@listener.example"})
    changed = client.v1.customers.update(
        customer.id, {"name": "B", "metadata": {"k": "v", "x": ""}}
    )
    assert (changed.name, fields(changed.metadata)) == ("B", {"k": "v"})
    found = client.v1.customers.list({"email": "a@listener.example"})
    assert [one.id for one in found.data] == [customer.id]

    method = client.v1.payment_methods.create(
        {
            "type": "card",
            "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123"},
        }
    )
    assert method.card is not None
    assert (method.card.brand, method.card.last4) == ("visa", "4242")
    client.v1.payment_methods.attach(method.id, {"customer": customer.id})
    listed = client.v1.customers.payment_methods.list(customer.id, {"type": "card"})
    assert [one.id for one in listed.data] == [method.id]
    owned = client.v1.payment_methods.retrieve(method.id, {"expand": ["customer"]})
    assert isinstance(owned.customer, stripe.Customer)
    assert owned.customer.name == "B"
    client.v1.payment_methods.detach(method.id)
    assert not client.v1.payment_methods.list({"customer": customer.id}).data
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        client.v1.payment_methods.attach(method.id, {"customer": customer.id})

    assert client.v1.customers.delete(customer.id).deleted
    assert client.v1.customers.retrieve(customer.id).deleted
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.update(customer.id, {"name": "C"})
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


def test_products_and_prices(client: StripeClient) -> None:
    """A price is found by its look-up key, which is one price's alone; it can be retired."""
    product = client.v1.products.create({"name": "Plus", "id": "plan-plus"})
    assert client.v1.products.update(product.id, {"description": "all"}).description == "all"
    price = client.v1.prices.create(
        {
            "product": product.id,
            "currency": "EUR",
            "unit_amount": 500,
            "recurring": {"interval": "year"},
            "lookup_key": "plus",
        }
    )
    other = client.v1.prices.create(
        {"currency": "eur", "unit_amount": 5, "product_data": {"name": "Once"}}
    )
    assert (price.currency, price.type, other.type) == ("eur", "recurring", "one_time")
    found = client.v1.prices.list({"lookup_keys": ["plus"], "expand": ["data.product"]})
    assert [one.id for one in found.data] == [price.id]
    assert isinstance(found.data[0].product, stripe.Product)
    assert [one.id for one in client.v1.prices.list({"product": product.id}).data] == [price.id]
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        client.v1.prices.create(
            {"product": product.id, "currency": "eur", "unit_amount": 9, "lookup_key": "plus"}
        )
    assert not client.v1.prices.update(price.id, {"active": False}).active
    assert [one.id for one in client.v1.prices.list({"active": True}).data] == [other.id]
    assert [one.id for one in client.v1.products.list({"active": True}).data][-1] == product.id


def test_payment_intents(client: StripeClient) -> None:
    """An intent is made, changed, confirmed once, and shows its charge."""
    intent = client.v1.payment_intents.create(
        {"amount": 1000, "currency": "usd", "automatic_payment_methods": NEVER}
    )
    assert intent.status == "requires_payment_method"
    changed = client.v1.payment_intents.update(
        intent.id, {"amount": 1200, "metadata": {"row": "7"}}
    )
    assert changed.amount == 1200
    paid = client.v1.payment_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )
    assert (paid.status, paid.amount_received) == ("succeeded", 1200)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert (paid.latest_charge.paid, fields(paid.latest_charge.metadata)) == (True, {"row": "7"})
    assert [one.id for one in client.v1.charges.list({"payment_intent": intent.id}).data] == [
        paid.latest_charge.id
    ]
    for act in (client.v1.payment_intents.confirm, client.v1.payment_intents.cancel):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            act(intent.id)
        assert refused.value.code == "payment_intent_unexpected_state"
    assert client.v1.balance.retrieve().available[0].amount == 1200


def test_capture_and_cancel(client: StripeClient) -> None:
    """Reserved money is taken in part or let go, and only what was taken is in the balance."""
    held = charged(client, 1000, capture_method="manual")
    assert (held.status, held.amount_capturable) == ("requires_capture", 1000)
    with pytest.raises(stripe.InvalidRequestError, match="greater than the remaining amount"):
        client.v1.payment_intents.capture(held.id, {"amount_to_capture": 1001})
    taken = client.v1.payment_intents.capture(held.id, {"amount_to_capture": 400})
    assert (taken.status, taken.amount_received) == ("succeeded", 400)

    other = charged(client, 1000, capture_method="manual")
    gone = client.v1.payment_intents.cancel(other.id, {"cancellation_reason": "duplicate"})
    assert (gone.status, gone.cancellation_reason) == ("canceled", "duplicate")
    assert client.v1.balance.retrieve().available[0].amount == 400


def test_refunds_give_back_no_more_than_came(client: StripeClient) -> None:
    """Parts add up to the charge and not beyond; the charge says how much went back."""
    intent = charged(client, 1000)
    first = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 300, "reason": "requested_by_customer"}
    )
    assert (first.status, first.amount) == ("succeeded", 300)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 701})
    rest = client.v1.refunds.create({"charge": str(intent.latest_charge), "metadata": {"a": "b"}})
    assert rest.amount == 700
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    assert client.v1.charges.retrieve(str(intent.latest_charge)).refunded
    listed = client.v1.refunds.list({"payment_intent": intent.id})
    assert [one.id for one in listed.data] == [rest.id, first.id]
    assert client.v1.refunds.retrieve(first.id).amount == 300
    assert client.v1.balance.retrieve().available[0].amount == 0


def test_transfers_pay_creators_from_what_came(client: StripeClient) -> None:
    """A creator's account is paid out of the balance, never beyond it, and found by its group."""
    account = client.v1.accounts.create(
        {
            "type": "express",
            "country": "US",
            "email": "creator@socialflow.example",
            "capabilities": {"transfers": {"requested": True}},
        }
    )
    assert account.payouts_enabled
    assert client.v1.accounts.retrieve(account.id).id == account.id
    charge = charged(client, 1000)
    paid = client.v1.transfers.create(
        {
            "amount": 600,
            "currency": "usd",
            "destination": account.id,
            "transfer_group": "payout-1",
            "source_transaction": str(charge.latest_charge),
            "metadata": {"payout": "1"},
        }
    )
    assert client.v1.transfers.retrieve(paid.id).amount == 600
    found = client.v1.transfers.list({"transfer_group": "payout-1", "destination": account.id})
    assert [one.id for one in found.data] == [paid.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.transfers.create({"amount": 401, "currency": "usd", "destination": account.id})
    assert refused.value.code == "balance_insufficient"
    entries = client.v1.balance_transactions.list({"limit": 10})
    assert sum(one.amount for one in entries.data) == 400


def test_a_subscription_is_incomplete_until_its_first_invoice_is_paid(client: StripeClient) -> None:
    """The current flow: the intent behind the latest invoice is confirmed, and the subscription is active."""
    customer = client.v1.customers.create({"email": "a@listener.example"})
    asked: SubscriptionCreateParams = {
        "customer": customer.id,
        "items": [{"price": monthly(client), "quantity": 2}],
        "payment_behavior": "default_incomplete",
        "payment_settings": {"save_default_payment_method": "on_subscription"},
        "metadata": {"row": "1"},
        "expand": ["latest_invoice.confirmation_secret", "latest_invoice.payments"],
    }
    made = client.v1.subscriptions.create(asked)
    assert made.status == "incomplete"
    invoice = made.latest_invoice
    assert isinstance(invoice, stripe.Invoice)
    assert (invoice.status, invoice.total) == ("open", 1998)
    assert invoice.confirmation_secret is not None
    assert invoice.payments is not None
    intent = str(invoice.payments.data[0].payment.payment_intent)
    assert invoice.confirmation_secret.client_secret.startswith(f"{intent}_secret_")
    item = made["items"].data[0]
    assert 28 <= (item.current_period_end - item.current_period_start) / 86_400 <= 31

    client.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    active = client.v1.subscriptions.retrieve(made.id, {"expand": ["default_payment_method"]})
    assert active.status == "active"
    assert isinstance(active.default_payment_method, stripe.PaymentMethod)
    assert active.default_payment_method.customer == customer.id
    paid = client.v1.invoices.retrieve(invoice.id)
    assert (paid.status, paid.amount_paid) == ("paid", 1998)
    payments = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent}}
    )
    assert [one.invoice for one in payments.data] == [invoice.id]
    assert [one.id for one in client.v1.invoices.list({"subscription": made.id}).data] == [
        invoice.id
    ]


def test_subscriptions_are_changed_listed_and_canceled(client: StripeClient) -> None:
    """One paid by a default method is active at once; it ends at the period's end or now, and only once."""
    customer = payer(client)
    price = monthly(client)
    made = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price}]})
    assert made.status == "active"
    ending = client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    assert ending.cancel_at == made["items"].data[0].current_period_end
    other = monthly(client, 1999)
    item = made["items"].data[0].id
    changed = client.v1.subscriptions.update(
        made.id, {"items": [{"id": item, "price": other}], "proration_behavior": "none"}
    )
    assert changed["items"].data[0].price.id == other
    listed = client.v1.subscriptions.list({"customer": customer.id, "price": other})
    assert [one.id for one in listed.data] == [made.id]
    gone = client.v1.subscriptions.cancel(made.id, {"cancellation_details": {"comment": "bye"}})
    assert (gone.status, gone.ended_at is not None) == ("canceled", True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.subscriptions.cancel(made.id)
    assert refused.value.http_status == 404
    assert not client.v1.subscriptions.list({"customer": customer.id}).data
    assert client.v1.subscriptions.list({"customer": customer.id, "status": "canceled"}).data


def test_an_open_invoice_is_paid_later(client: StripeClient) -> None:
    """A first payment that fails leaves the subscription incomplete; another card on the invoice mends it."""
    customer = payer(client, "pm_card_chargeCustomerFail")
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": monthly(client)}]}
    )
    assert made.status == "incomplete"
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(str(made.latest_invoice))
    good = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    paid = client.v1.invoices.pay(str(made.latest_invoice), {"payment_method": good.id})
    assert paid.status == "paid"
    assert client.v1.subscriptions.retrieve(made.id).status == "active"
    with pytest.raises(stripe.CardError):
        client.v1.subscriptions.create(
            {
                "customer": customer.id,
                "items": [{"price": monthly(client)}],
                "payment_behavior": "error_if_incomplete",
            }
        )
    assert len(client.v1.subscriptions.list({"customer": customer.id}).data) == 1
