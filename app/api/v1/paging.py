"""The parameters of every list."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Query

from app.core.errors import AppError
from app.services.paging import CURSOR_LENGTH, Cursor, InvalidCursorError
from app.services.video import MAX_PAGE

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
CursorText = Annotated[
    str | None, Query(max_length=CURSOR_LENGTH, description="`next_cursor` of the page before")
]


def read_cursor(text: str | None) -> Cursor | None:
    """Return where the page begins, None for the first one; 422 for what was never given out."""
    try:
        return Cursor.decode(text) if text else None
    except InvalidCursorError as error:
        raise AppError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "Unprocessable content", f"cursor: {error}"
        ) from error
