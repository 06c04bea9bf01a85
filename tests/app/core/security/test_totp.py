"""One-time codes against the standard's own vectors, and recovery codes as people type them."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.security.totp import (
    RECOVERY_ALPHABET,
    RECOVERY_CODES,
    STEP_S,
    matching_step,
    new_recovery_codes,
    new_secret,
    normal_recovery_code,
    provisioning_uri,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = base64.b32encode(b"12345678901234567890").decode()
# RFC 6238, appendix B, SHA-1: the last six of its eight digits.
VECTORS = [
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
]


def code_at(step: int) -> str:
    """Return the code of a step, as an app on a phone would."""
    return pyotp.TOTP(SECRET).at(step * STEP_S)


@pytest.mark.parametrize(("now_s", "code"), VECTORS)
def test_codes_are_those_of_the_standard(now_s: int, code: str) -> None:
    """Any authenticator app shows what is expected here."""
    assert matching_step(SECRET, code, float(now_s)) == now_s // STEP_S


@given(st.integers(2, 10**8), st.integers(0, STEP_S * 1000 - 1), st.integers(-4, 4))
def test_the_window_is_one_step_either_side(step: int, into_ms: int, away: int) -> None:
    """A code is good for its step, the one before and the one after, and its own step is named."""
    found = matching_step(SECRET, code_at(max(0, step + away)), step * STEP_S + into_ms / 1000)
    near = [s for s in (step - 1, step, step + 1) if code_at(s) == code_at(max(0, step + away))]

    assert found == (near[-1] if near else None)
    if abs(away) <= 1:
        assert found is not None


def test_every_step_of_the_window_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A match ends no search, and each comparison takes constant time: the time tells nothing."""
    compared = []
    real: Callable[[str, str], bool] = hmac.compare_digest

    def spy(one: str, other: str) -> bool:
        compared.append(other)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    for step in (99, 100, 101, 500):
        compared.clear()
        matching_step(SECRET, code_at(step), 100 * STEP_S)
        assert len(compared) == 3


@pytest.mark.parametrize(
    "code",
    [
        "",
        "1",
        "28708",
        "2870822",
        "28708x",
        "٢٨٧٠٨٢",
        "-28708",
        "287082\n",
        "0" * 10_000,
        "\uff12\uff18\uff17\uff10\uff18\uff12",
    ],
)
def test_what_has_not_the_form_of_a_code_is_none(code: str) -> None:
    """Six ASCII digits and nothing else."""
    assert matching_step(SECRET, code, 59.0) is None


def test_a_code_may_be_typed_as_apps_show_it() -> None:
    """Apps show two groups of three."""
    assert matching_step(SECRET, "287 082", 59.0) == 1


def test_there_is_no_step_before_the_first() -> None:
    """At the beginning of time the window is cut, not wrapped."""
    assert matching_step(SECRET, code_at(0), 0.0) == 0
    assert matching_step(SECRET, "000000", 0.0) is None


def test_secrets_have_as_many_bits_as_the_hash() -> None:
    """160 random bits, each time others."""
    secrets = {new_secret() for _ in range(100)}

    assert len(secrets) == 100
    assert all(len(base64.b32decode(secret)) == 20 for secret in secrets)


def test_an_app_can_read_the_provisioning_uri() -> None:
    """It names issuer, account and secret; what is the standard's default may be left out."""
    uri = urlsplit(provisioning_uri(SECRET, "ada"))
    values = parse_qs(uri.query)

    assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", "/Social Flow:ada")
    assert values["secret"] == [SECRET]
    assert values["issuer"] == ["Social Flow"]
    read = pyotp.parse_uri(uri.geturl())
    assert isinstance(read, pyotp.TOTP)
    assert read.at(59) == "287082"


def test_recovery_codes_are_random_and_of_one_form() -> None:
    """Ten codes of two groups of five; 32 signs, ten of them: 50 bits; no two alike in a hundred sets."""
    sets = [new_recovery_codes() for _ in range(100)]
    codes = [code for each in sets for code in each]

    assert all(len(each) == RECOVERY_CODES for each in sets)
    assert len(set(codes)) == 1000
    assert len(set(RECOVERY_ALPHABET)) == 32
    assert not set("ilou") & set(RECOVERY_ALPHABET)
    for code in codes:
        assert [len(group) for group in code.split("-")] == [5, 5]
        assert set(code) <= set(RECOVERY_ALPHABET) | {"-"}
    assert set("".join(codes)) == set(RECOVERY_ALPHABET) | {"-"}


@given(st.text(RECOVERY_ALPHABET, min_size=10, max_size=10), st.data())
def test_a_recovery_code_may_be_typed_in_many_ways(signs: str, data: st.DataObject) -> None:
    """Case, dashes, spaces and signs that look alike lead to one spelling."""
    alike = {"1": "1iIlL", "0": "0oO"}
    typed = "".join(
        data.draw(st.sampled_from(alike.get(sign, sign + sign.upper())))
        + data.draw(st.sampled_from(["", "-", " "]))
        for sign in signs
    )

    assert normal_recovery_code(typed) == f"{signs[:5]}-{signs[5:]}"


def test_a_normal_code_is_its_own_normal_form() -> None:
    """What was handed out is found as it was stored."""
    for code in new_recovery_codes():
        assert normal_recovery_code(code) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "123456",
        "abcde-fgh",
        "abcde-fghjkm",
        "abcde-fghj!",
        "abcde-fghj\u212a",
        "a" * 100_000,
        "uuuuu-uuuuu",
    ],
)
def test_what_has_not_the_form_of_a_recovery_code_is_none(text: str) -> None:
    """A one-time code, too few or too many signs, other alphabets: none of them is looked up."""
    assert normal_recovery_code(text) is None
