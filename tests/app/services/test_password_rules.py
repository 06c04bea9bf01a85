"""Which passwords are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.password_rules import MIN_CHARACTERS, objection

USERNAME = "quiet-harbour"


@pytest.mark.parametrize(
    "password",
    [
        *("password123", "Password2026!", "P@ssw0rd1234", "1234567890", "0987654321"),
        *("qwertyuiop", "poiuytrewq", "qwertyuiop123", "abcdefghij", "1q2w3e4r5t", "iloveyou2024"),
        *("adminadmin", "letmein12345", "aaaaaaaaaaaa", "abababababab", "socialflow-1"),
        *("my quiet-harbour", "QUIET-HARBOUR-77"),
    ],
)
def test_refused(password: str) -> None:
    """Common words with fillers, runs along the keyboard, few different characters and the user name are refused."""
    why = objection(password, USERNAME)

    assert why
    assert password.casefold() not in why


@pytest.mark.parametrize(
    "password",
    [
        "nine copper kettles",
        "socialflow-demo-password",
        "correct horse battery",
        "pässwörter-äöü",
        "7d#kQ!vv02L",
    ],
)
def test_taken(password: str) -> None:
    """What is none of that is taken, whatever characters it is made of."""
    assert objection(password, USERNAME) is None


@given(st.text(min_size=MIN_CHARACTERS, max_size=128))
def test_any_text_is_judged(password: str) -> None:
    """No text breaks the judgement, and no objection repeats the password."""
    why = objection(password, USERNAME)

    assert why is None or password not in why
