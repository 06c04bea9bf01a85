"""Webhooks are signed, sent until they are taken, and wrong in just the ways that were asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import stripe

from compose.standins.payments.webhooks import LONGEST_PAUSE_S, pause_s, signature
from tests.compose.payments.provider import SECRET, until
from tests.compose.payments.test_resources import charged, monthly, payer

if TYPE_CHECKING:
    from stripe import StripeClient

    from tests.compose.payments.provider import Provider, Receiver

PAID = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def settled(provider: Provider) -> None:
    """Wait until nothing is left to deliver."""
    until(lambda: provider.sample("payments_provider_webhooks_pending") == 0)


def test_events_arrive_signed(client: StripeClient, provider: Provider, receiver: Receiver) -> None:
    """The SDK proves each signature; the event is the one that the API lists, with the request that caused it."""
    intent = charged(client)
    settled(provider)
    events = receiver.events()
    assert sorted(event.type for event in events) == sorted(PAID)
    paid = next(event for event in events if event.type == "payment_intent.succeeded")
    assert (paid.data.object["id"], paid.data.object["amount_received"]) == (intent.id, 1000)
    assert paid.api_version == stripe.api_version
    assert paid.request is not None
    assert intent.last_response is not None
    assert paid.request.id == intent.last_response.request_id
    listed = client.v1.events.list({"type": "payment_intent.succeeded"})
    assert [(one.id, one.pending_webhooks) for one in listed.data] == [(paid.id, 0)]
    assert client.v1.events.retrieve(paid.id).data.object["id"] == intent.id
    assert len(client.v1.events.list({"types": ["charge.succeeded", "charge.failed"]}).data) == 1
    assert len(client.v1.events.list({"delivery_success": True}).data) == 3


def test_a_wrong_signature_is_refused_by_the_sdk() -> None:
    """Another secret, another payload and an old timestamp are all told from the real thing."""
    now = int(time.time())
    good = signature(SECRET, b'{"object": "event"}', now)
    stripe.WebhookSignature.verify_header('{"object": "event"}', good, SECRET, 300)
    for payload, header in (
        ('{"object": "event"}', signature("whsec_other", b'{"object": "event"}', now)),
        ('{"object": "Event"}', good),
        ('{"object": "event"}', signature(SECRET, b'{"object": "event"}', now - 301)),
    ):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(payload, header, SECRET, 300)


def test_what_is_not_taken_is_sent_again(
    client: StripeClient, provider: Provider, receiver: Receiver
) -> None:
    """While the backend refuses, events stay and come again, over a kill of the provider too; then each is there."""
    receiver.status = 503
    charged(client)
    until(lambda: len(receiver.came) > len(PAID))
    assert provider.sample("payments_provider_webhooks_pending") == len(PAID)
    provider.kill()
    receiver.came.clear()
    receiver.status = 200
    provider.start()
    settled(provider)
    assert sorted(receiver.types()) == sorted(PAID)


def test_pauses_grow_to_a_bound() -> None:
    """Each attempt waits longer than the one before, never longer than the bound."""
    pauses = [pause_s(n) for n in range(1, 100)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (0.5, 1.0, LONGEST_PAUSE_S)


def test_duplicates(client: StripeClient, provider: Provider, receiver: Receiver) -> None:
    """Each event comes as often as the fault says, as the same event."""
    provider.control("PUT", "faults", duplicate=2)
    charged(client)
    settled(provider)
    assert sorted(receiver.types()) == sorted(PAID * 3)
    assert len({event.id for event in receiver.events()}) == len(PAID)


def test_reordering(client: StripeClient, provider: Provider, receiver: Receiver) -> None:
    """What happened last comes first."""
    provider.control("PUT", "faults", reorder=3)
    charged(client)
    settled(provider)
    assert receiver.types() == PAID[::-1]


def test_delay(client: StripeClient, provider: Provider, receiver: Receiver) -> None:
    """Events come late, with a fresh signature, and not before their time."""
    provider.control("PUT", "faults", delay_ms=1_500)
    began = time.monotonic()
    charged(client)
    until(lambda: bool(receiver.came))
    assert time.monotonic() - began >= 1.5
    settled(provider)
    assert sorted(receiver.types()) == sorted(PAID)


def test_dropping(client: StripeClient, provider: Provider, receiver: Receiver) -> None:
    """So many events never come; the API still lists them, as not delivered, so that one can reconcile."""
    provider.control("PUT", "faults", drop=len(PAID))
    charged(client)
    settled(provider)
    assert receiver.came == []
    assert provider.control("GET", "deliveries") == {"dropped": len(PAID)}
    assert len(client.v1.events.list({"delivery_success": False}).data) == len(PAID)
    charged(client)
    settled(provider)
    assert sorted(receiver.types()) == sorted(PAID)


def test_the_events_of_a_subscription(
    client: StripeClient, provider: Provider, receiver: Receiver
) -> None:
    """Its start, payment and end are told."""
    customer = payer(client)
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": monthly(client)}]}
    )
    client.v1.subscriptions.cancel(made.id)
    settled(provider)
    told = {
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "invoice.created",
        "invoice.paid",
        "invoice_payment.paid",
        "payment_intent.succeeded",
    }
    assert told <= set(receiver.types())
