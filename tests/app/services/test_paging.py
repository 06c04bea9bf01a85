"""Cursors."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.paging import CURSOR_LENGTH, Cursor, InvalidCursorError

MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31))  # noqa: DTZ001 - hypothesis adds the zone


@given(st.builds(Cursor, MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)), st.uuids()))
def test_cursor_round_trip(cursor: Cursor) -> None:
    """A cursor comes back as it was, to the microsecond, in a text that needs no escaping in a URL."""
    text = cursor.encode()

    assert Cursor.decode(text) == cursor
    assert len(text) == CURSOR_LENGTH
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=2 * CURSOR_LENGTH))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a client sends is a cursor or an InvalidCursorError, nothing else."""
    try:
        cursor = Cursor.decode(text)
    except InvalidCursorError:
        return
    assert cursor.encode() == text


@pytest.mark.parametrize("text", ["", "AAAA", "f" * CURSOR_LENGTH, "é" * CURSOR_LENGTH])
def test_refused(text: str) -> None:
    """Too short, beyond the calendar, or no base64: refused with what to do instead."""
    with pytest.raises(InvalidCursorError, match="next_cursor"):
        Cursor.decode(text)


def test_example() -> None:
    """The form is fixed: clients may keep cursors over a deployment."""
    cursor = Cursor(datetime(2025, 1, 2, 3, 4, 5, 6, UTC), UUID(int=7))

    assert Cursor.decode("AAYqsGo5E0YAAAAAAAAAAAAAAAAAAAAH") == cursor
