"""Which part of an object a client asks for (RFC 9110, section 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.streaming import Form, Part, UnsatisfiableError, matches, part_of

FORM = Form("source", "sources/x", 1000, "ab" * 32, "video/mp4")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", Part(0, 1)),
        ("bytes=0-99", Part(0, 100)),
        ("bytes=500-", Part(500, 500)),
        ("bytes=999-999", Part(999, 1)),
        ("bytes=900-5000", Part(900, 100)),
        ("bytes=-1", Part(999, 1)),
        ("bytes=-5000", Part(0, 1000)),
        ("Bytes=0-1", Part(0, 2)),
    ],
)
def test_one_range(header: str, part: Part) -> None:
    """First bytes, the middle, the end, a suffix; what reaches behind the end is cut there."""
    assert part_of(FORM, header, None) == part


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=--1", "items=0-1"),
        *("bytes=0-1,5-6", "bytes=0x1-2", "bytes=1-\u0662", "bytes=" + "9" * 400 + "-"),
    ],
)
def test_no_range(header: str) -> None:
    """What is no range of bytes, and several of them, are answered with all."""
    assert part_of(FORM, header, None) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_behind_the_end(header: str) -> None:
    """A range that has nothing of the object cannot be satisfied."""
    with pytest.raises(UnsatisfiableError):
        part_of(FORM, header, None)


@pytest.mark.parametrize(
    ("if_range", "kept"),
    [
        (FORM.etag, True),
        ('"another"', False),
        (f"W/{FORM.etag}", False),
        ("Tue, 15 Nov 1994 12:45:26 GMT", False),
    ],
)
def test_if_range(if_range: str, *, kept: bool) -> None:
    """A part is only for who has the rest of the very same bytes."""
    assert (part_of(FORM, "bytes=0-9", if_range) is not None) is kept


@pytest.mark.parametrize(
    ("condition", "has_it"),
    [
        (None, False),
        (FORM.etag, True),
        (f'"other", W/{FORM.etag}', True),
        ("*", True),
        ('"other"', False),
        ("ab" * 32, False),
    ],
)
def test_if_none_match(condition: str | None, *, has_it: bool) -> None:
    """A client has it when one of its tags is this one, weak or not."""
    assert matches(condition, FORM.etag) is has_it


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header(header: str, if_range: str) -> None:
    """Whatever is sent, the part is inside the object, and nothing but "not satisfiable" is raised."""
    try:
        part = part_of(FORM, f"bytes={header}", if_range if len(if_range) > 30 else None)
    except UnsatisfiableError:
        return
    if part is not None:
        assert 0 <= part.start < part.start + part.length <= FORM.size_bytes
