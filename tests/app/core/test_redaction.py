"""What may be shown of a value: secrets and persons are removed wherever they stand, and nothing else is."""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import PurePosixPath
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.redaction import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT,
    REDACTED,
    clean,
    clean_text,
    cleaner_of,
)

SECRET_NAMES = (
    *("username", "user_name", "userName", "password", "new_password", "passwordHash", "pwd"),
    *(
        "token",
        "refresh_token",
        "accessToken",
        "tokens",
        "secret",
        "s3_secret_key",
        "client-secret",
    ),
    *("code", "codes", "recovery_code", "recovery", "otp", "totp", "otp_code", "challenge"),
    *("address", "remote_addr", "ip", "client_ip", "email", "e_mail", "mail", "phone"),
    *("authorization", "Cookie", "set-cookie", "api_key", "X-Forwarded-For", "user_agent"),
)
PLAIN_NAMES = (
    *("status_code", "exit_code", "error_code", "user_id", "user", "event", "barcode", "decoded"),
    *("description", "zip", "tokenizer", "discard", "addressed", "ships", "encoded", "passed"),
)


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("value", ["x", 123456, 1.5, ["x"], {"a": "x"}, object()])
def test_a_secret_name_hides_any_value(name: str, value: object) -> None:
    """However the name is spelled and whatever it holds; that nothing was there, or a yes or no, may be shown."""
    assert cleaner_of(name)(value) == REDACTED
    assert clean({"outer": {name: value}}) == {"outer": {name: REDACTED}}
    assert cleaner_of(name)(None) is None
    assert cleaner_of(name)(True) is True  # noqa: FBT003 - the value is the claim


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_plain_name_hides_nothing(name: str) -> None:
    """A word inside a longer word is no secret, and outcomes that are called codes are none."""
    assert cleaner_of(name)("kept") == "kept"
    assert cleaner_of(name)(404) == 404


@pytest.mark.parametrize(
    "personal",
    [
        *("ada@example.org", "ada.l+x@mail.example.co", "10.1.2.3", "203.0.113.255"),
        *("2001:db8::1", "::1", "fe80::1:2", "2001:db8:0:0:0:0:0:1", "::ffff:10.1.2.3"),
        *("123456", "0123456789", "+491701234567", "4242 4242 4242 4242", "4242-4242-4242-4242"),
        *("k3m9x-7p2qr", "K3M9X-7P2QR", "eyJhbGciOi.eyJzdWIi.c2lnbmF0"),
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "for {}",
        "for {}, again",
        "({})",
        '"{}"',
        "x={}",
        "at {}.",
        "[{}]:443",
        "/a/{}/b",
        "ü {}",
    ],
)
def test_what_is_personal_is_found_in_any_text(personal: str, around: str) -> None:
    """Addresses, numbers and codes, alone, quoted, in a sentence, in a path."""
    shown = clean_text(around.format(personal))

    assert personal not in shown
    assert REDACTED in shown


@pytest.mark.parametrize(
    "quoted",
    [
        "DETAIL:  Key (username)=(ada) already exists.",
        "DETAIL:  Key (lower(email::text), x)=(ada (the) first, 5) already exists.",
        "Failing row contains (1, ada, null).",
        "[SQL: SELECT 1]\n[parameters: ('ada', 5)]",
        "1 error\n  Input [type=x, input_value='ada', input_type=str]",
        "redis://ada:pass@cache:6379/0",
        "redis://:ada@cache",
        "https://ada@host/",
        "Authorization: Bearer ada",
        "basic ada=",
    ],
)
def test_what_libraries_quote_is_removed(quoted: str) -> None:
    """Messages of PostgreSQL, SQLAlchemy, pydantic and HTTP libraries tell no row, no body and no credential."""
    assert "ada" not in clean_text(f"it failed: {quoted}")


@pytest.mark.parametrize(
    "plain",
    [
        "/api/v1/videos/550e8400-e29b-41d4-a716-446655440000/thumbnail",
        "550e8400-e29b-41d4-a716-446655440000",
        "0af7651916cd43dd8448eb211c80319c",
        "redis-cache",
        "12:30:45",
        "2026-11-24T13:00:00.123Z",
        "kept 12345 of 99999 in 0.1234567 s",
        "version 1.2.3",
        "std::vector",
        "Started server process",
        "video_processing",
        "",
    ],
)
def test_ids_times_and_words_stay(plain: str) -> None:
    """Nothing is lost that is needed to understand the line."""
    assert clean_text(plain) == plain


@given(st.text(alphabet="abk_-/{}0123456789 @:.", max_size=60))
def test_the_quick_look_overlooks_nothing(text: str) -> None:
    """What is let through after a quick look is what the thorough search would have let through."""
    from app.core.redaction import _search

    assert clean_text(text) == _search(text)


@given(
    address=st.ip_addresses(v=6).map(str) | st.ip_addresses(v=4).map(str),
    before=st.sampled_from(("", "from ", "(", "[")),
    after=st.sampled_from(("", " said", ")", "]:80", ",")),
)
def test_no_ip_address_is_shown(address: str, before: str, after: str) -> None:
    """Any address of either version, in its usual spelling."""
    if ip_address(address).is_unspecified:
        return
    assert address not in clean_text(f"{before}{address}{after}")


def test_objects_become_text_that_was_looked_at() -> None:
    """A renderer would turn them into text by itself, behind the back of the redaction."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("ada@example.org")

    class Number(IntEnum):
        ONE = 1

    assert clean(OSError("mail to ada@example.org")) == f"mail to {REDACTED}"
    assert clean(ip_address("203.0.113.7")) == REDACTED
    assert clean(PurePosixPath("/a/ada@example.org")) == f"/a/{REDACTED}"
    assert clean({"ada@example.org": 1}) == {REDACTED: 1}
    assert clean(b"raw") == clean(bytearray(b"raw")) == clean(memoryview(b"raw")) == REDACTED
    assert clean(Broken()) == "[Broken without text]"
    assert (clean(HTTPStatus.NOT_FOUND), clean(Number.ONE)) == (404, 1)
    assert clean(UUID(int=446655440000)) == str(UUID(int=446655440000))
    assert clean({1, 2} - {2}) == [1]


def test_everything_has_a_bound() -> None:
    """Long texts are cut, deep and circular values end, long lists too."""
    circle: list[object] = []
    circle.append(circle)
    depth, inner = 0, clean(circle)
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]

    assert (depth, inner) == (MAX_DEPTH, REDACTED)
    assert len(clean_text("word " * MAX_TEXT)) == MAX_TEXT + 1
    assert len(clean(list(range(10_000)))) == MAX_ITEMS  # type: ignore[arg-type]
    assert len(clean({str(n): n for n in range(10_000)})) == MAX_ITEMS  # type: ignore[arg-type]


def test_what_is_no_text_is_made_one() -> None:
    """Half a surrogate pair cannot be rendered, so it is replaced."""
    assert clean_text("/\udce4/") == "/?/"


@given(st.lists(st.uuids(), max_size=3))
def test_any_uuid_stays(ids: list[UUID]) -> None:
    """Ids are how lines are found; none is ever taken for a number of somebody."""
    path = "/".join(str(each) for each in (*ids, uuid4()))

    assert clean_text(path) == path
