"""Stripe's test cards: what happens when each is charged. No card number is ever kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.standins.payments.errors import ApiError, invalid

if TYPE_CHECKING:
    from compose.standins.payments.params import Params


@dataclass(frozen=True, slots=True)
class Card:
    """A test card; `code` and `decline_code` are why it is declined, None when it is not."""

    number: str
    token: str
    brand: str = "visa"
    code: str | None = None
    decline_code: str | None = None
    attachable: bool = True
    authentication: bool = False

    @property
    def declined(self) -> bool:
        """Whether a charge fails."""
        return self.code is not None


def _declined(number: str, token: str, code: str, decline_code: str, **more: bool) -> Card:
    return Card(
        number, f"pm_card_{token}", "visa", code, decline_code, **{"attachable": False, **more}
    )


CARDS = (
    Card("4242424242424242", "pm_card_visa"),
    Card("4000056655665556", "pm_card_visa_debit"),
    Card("5555555555554444", "pm_card_mastercard", "mastercard"),
    Card("378282246310005", "pm_card_amex", "amex"),
    Card("4000000000000077", "pm_card_bypassPending"),
    _declined("4000000000000002", "visa_chargeDeclined", "card_declined", "generic_decline"),
    _declined(
        "4000000000009995",
        "visa_chargeDeclinedInsufficientFunds",
        "card_declined",
        "insufficient_funds",
    ),
    _declined("4000000000009987", "visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
    _declined("4000000000009979", "visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    _declined("4000000000000069", "chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    _declined("4000000000000127", "chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
    _declined(
        "4000000000000119", "chargeDeclinedProcessingError", "processing_error", "processing_error"
    ),
    _declined(
        "4000000000000341",
        "chargeCustomerFail",
        "card_declined",
        "generic_decline",
        attachable=True,
    ),
    Card("4000002760003184", "pm_card_authenticationRequired", authentication=True),
    Card("4000000000003220", "pm_card_threeDSecure2Required", authentication=True),
)
BY_TOKEN = {card.token: card for card in CARDS}
BY_NUMBER = {card.number: card for card in CARDS}
_TOKENS = {
    "tok_visa": "pm_card_visa",
    "tok_mastercard": "pm_card_mastercard",
    "tok_chargeDeclined": "pm_card_visa_chargeDeclined",
    "tok_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
}
_MESSAGES = {
    "card_declined": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


def message(code: str, decline_code: str | None) -> str:
    """Return what the card's holder is told."""
    return _MESSAGES.get(decline_code or "", _MESSAGES.get(code, "Your card was declined."))


def decline(card: Card, *, param: str | None = None, charge: str | None = None) -> ApiError:
    """Return the refusal of a declined card; a charge that was tried is a fact and is kept."""
    code = card.code or "card_declined"
    return ApiError(
        402,
        message(code, card.decline_code),
        kind="card_error",
        code=code,
        decline_code=card.decline_code,
        param=param,
        keep=charge is not None,
        charge=charge,
    )


def from_form(given: Params, year: int, month: int) -> Card:
    """Return the test card that a form describes. Raises `ApiError`; the number is in no message."""
    if given.get("token"):
        card = BY_TOKEN.get(_TOKENS.get(given["token"], ""))
        if card is None:
            raise invalid("No such token", "card[token]", "resource_missing")
        return card
    number = (given.get("number") or "").replace(" ", "")
    if not number.isdecimal() or not _luhn(number):
        raise _wrong("Your card number is incorrect.", "number", "incorrect_number")
    expires_in = given.get("exp_year") or 0
    expires = (expires_in + (2000 if expires_in < 100 else 0), given.get("exp_month") or 0)  # noqa: PLR2004 - "40" is 2040
    if expires[0] < year:
        raise _wrong("Your card's expiration year is invalid.", "exp_year", "invalid_expiry_year")
    if expires < (year, month):
        raise _wrong(
            "Your card's expiration month is invalid.", "exp_month", "invalid_expiry_month"
        )
    card = BY_NUMBER.get(number)
    if card is None:
        raise ApiError(
            402,
            "Your card was declined. Your request was in test mode, but used a non test card.",
            kind="card_error",
            code="card_declined",
            decline_code="test_mode_live_card",
        )
    return card


def _wrong(text: str, param: str, code: str) -> ApiError:
    return ApiError(402, text, kind="card_error", code=code, param=param)


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
