"""A key stands for one piece of work: whatever is cut, killed or repeated, it is done once and answered alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import stripe

from tests.compose.payments.provider import KEY, NEVER, raw, until

if TYPE_CHECKING:
    from stripe import StripeClient

    from tests.compose.payments.provider import Provider, Recorder

PAYMENT = {
    "amount": "1000",
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "confirm": "true",
    "automatic_payment_methods[enabled]": "true",
    "automatic_payment_methods[allow_redirects]": "never",
}


def pay(provider: Provider, key: str, **changed: str) -> tuple[int, dict[str, str], Any]:
    """Ask for a payment under a key."""
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Idempotency-Key": key,
    }
    body = urlencode({**PAYMENT, **changed})
    return raw(provider.port, "POST", "/v1/payment_intents", body, headers)


def charges(client: StripeClient) -> int:
    """Return how many charges there are."""
    return len(client.v1.charges.list({"limit": 100}).data)


def test_a_repeated_key_gets_the_same_answer(
    client: StripeClient, recorder: Recorder, provider: Provider
) -> None:
    """The SDK's second request with a key is answered word for word as the first, says so, and does nothing."""
    answers = [
        client.v1.payment_intents.create(
            {
                "amount": 1000,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "automatic_payment_methods": NEVER,
                "confirm": True,
            },
            {"idempotency_key": "row-1"},
        )
        for _ in range(2)
    ]
    assert answers[0].to_dict() == answers[1].to_dict()
    first, second = recorder.headers
    assert "idempotent-replayed" not in first
    assert second["idempotent-replayed"] == "true"
    assert second["original-request"] == first["request-id"]
    assert second["idempotency-key"] == "row-1"
    assert charges(client) == 1
    assert provider.sample("payments_provider_replayed_total") == 1


def test_changed_parameters_are_refused(client: StripeClient, provider: Provider) -> None:
    """A key that comes back with other parameters or to another address is an `IdempotencyError`."""
    client.v1.customers.create({"email": "a@b.example"}, {"idempotency_key": "row-1"})
    for again in (
        lambda: client.v1.customers.create({"email": "c@d.example"}, {"idempotency_key": "row-1"}),
        lambda: client.v1.products.create({"name": "Plus"}, {"idempotency_key": "row-1"}),
    ):
        with pytest.raises(stripe.IdempotencyError) as refused:
            again()
        assert refused.value.http_status == 400
    assert len(client.v1.customers.list().data) == 1
    assert provider.sample('payments_provider_conflicts_total{reason="changed"}') == 2


def test_of_concurrent_requests_with_a_key_one_is_done(
    client: StripeClient, provider: Provider
) -> None:
    """While the first is under way the others get 409; afterwards all get its answer; there is one charge."""
    provider.control("PUT", "faults", hold_ms=1_500)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: pay(provider, "row-1"), range(8)))
    assert {status for status, _, _ in answers} == {200, 409}
    conflict = next(body for status, _, body in answers if status == 409)
    assert conflict["error"]["code"] == "idempotency_key_in_use"
    provider.control("PUT", "faults")
    done = pay(provider, "row-1")[2]
    assert all(body == done for status, _, body in answers if status == 200)
    assert charges(client) == 1


def test_without_a_hold_a_stampede_is_still_one_charge(
    client: StripeClient, provider: Provider
) -> None:
    """However requests with one key fall together, each gets the one answer or a 409."""
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: pay(provider, "row-1"), range(64)))
    assert {status for status, _, _ in answers} <= {200, 409}
    assert len({body["id"] for status, _, body in answers if status == 200}) == 1
    assert charges(client) == 1


def test_a_key_outlives_a_kill(client: StripeClient, provider: Provider) -> None:
    """After kill -9 and a restart the key gets the same answer, and the same refusal of other parameters."""
    done = pay(provider, "row-1")[2]
    provider.kill()
    provider.start()
    status, headers, again = pay(provider, "row-1")
    assert (status, headers["idempotent-replayed"], again) == (200, "true", done)
    assert pay(provider, "row-1", amount="1001")[2]["error"]["type"] == "idempotency_error"
    assert charges(client) == 1


def test_a_kill_in_the_middle_leaves_all_or_nothing(
    client: StripeClient, provider: Provider
) -> None:
    """Payments whose answers a kill -9 took are repeated with their keys: one charge each, none lost, none twice."""
    keys = [f"row-{n}" for n in range(60)]

    def attempt(key: str) -> str | None:
        try:
            status, _, body = pay(provider, key)
        except OSError:
            return None
        return str(body["id"]) if status == 200 else None

    provider.control("PUT", "faults", hold_ms=50)
    with ThreadPoolExecutor(6) as threads:
        first = [threads.submit(attempt, key) for key in keys]
        until(lambda: sum(one.done() for one in first) >= 10)
        provider.kill()
    before = {key: one.result() for key, one in zip(keys, first, strict=True)}
    assert None in before.values()
    provider.start()
    after = {key: attempt(key) for key in keys}
    assert all(after.values())
    assert all(after[key] == found for key, found in before.items() if found)
    listed = client.v1.charges.list({"limit": 100}).data
    assert len(listed) == len(keys)
    assert {one.payment_intent for one in listed} == set(after.values())
    assert client.v1.balance.retrieve().available[0].amount == 1000 * len(keys)


def test_an_answer_that_is_cut_off_was_done(client: StripeClient, provider: Provider) -> None:
    """A cut connection looks like a failure, but the charge stands, and the same key brings its answer."""
    provider.control("PUT", "faults", cut=1)
    with pytest.raises(OSError, match=r".*"):
        pay(provider, "row-1")
    assert charges(client) == 1
    status, headers, _ = pay(provider, "row-1")
    assert (status, headers["idempotent-replayed"]) == (200, "true")
    assert charges(client) == 1


def test_a_decline_is_replayed_and_a_wrong_request_is_not(
    client: StripeClient, provider: Provider
) -> None:
    """A declined charge is a fact that its key repeats; a request that was never right may be mended under its key."""
    declined = [pay(provider, "a", payment_method="pm_card_visa_chargeDeclined") for _ in range(2)]
    assert [status for status, _, _ in declined] == [402, 402]
    assert declined[0][2] == declined[1][2]
    assert charges(client) == 1
    assert pay(provider, "b", amount="-1")[0] == 400
    assert pay(provider, "b")[0] == 200


def test_a_key_is_forgotten_after_a_day(client: StripeClient, provider: Provider) -> None:
    """Within 24 hours a key repeats its answer, later it stands for new work."""
    first = pay(provider, "row-1")[2]["id"]
    provider.control("POST", "clock", advance_s=24 * 3600 - 60)
    assert pay(provider, "row-1")[2]["id"] == first
    provider.control("POST", "clock", advance_s=61)
    assert pay(provider, "row-1")[2]["id"] != first
    assert charges(client) == 2
