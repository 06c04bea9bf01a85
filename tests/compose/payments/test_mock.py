"""The judge judges: stripe-mock refuses what Stripe would not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.compose.payments.provider import Sent

if TYPE_CHECKING:
    from tests.compose.payments.provider import Mock


def test_stripe_mock_refuses_what_is_wrong(mock: Mock) -> None:
    """A misspelt parameter, a missing one and an address that is none are each found; a right request is not."""
    version = "2026-10-28.endive"
    right = Sent("POST", "/v1/customers", "email=a", version, 200)
    wrong = [
        Sent("POST", "/v1/customers", "emial=a", version, 200),
        Sent("POST", "/v1/payment_intents", "amount=100", version, 200),
        Sent("GET", "/v1/nothing", None, version, 200),
    ]
    assert mock.refused([right]) == []
    assert len(mock.refused(wrong)) == len(wrong)
