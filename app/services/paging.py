"""Cursors: where the next page of a list begins, opaque to clients."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

_LAYOUT = struct.Struct(">q16s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Every cursor has this length; a client's value of any other is refused unread.
CURSOR_LENGTH = _LAYOUT.size * 4 // 3


class InvalidCursorError(ValueError):
    """A cursor that this server never gave out."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry that a client has seen, in an order by date and id: unique, so no entry is lost or repeated."""

    published_at: datetime
    id: UUID

    def encode(self) -> str:
        """Return the form in which clients carry it."""
        micros = (self.published_at - _EPOCH) // _MICROSECOND
        return base64.urlsafe_b64encode(_LAYOUT.pack(micros, self.id.bytes)).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a client's value. Raises InvalidCursorError for anything that `encode` could not have made."""
        try:
            micros, raw = _LAYOUT.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
            return cls(_EPOCH + micros * _MICROSECOND, UUID(bytes=raw))
        except (ValueError, binascii.Error, struct.error, OverflowError) as error:
            msg = "use the `next_cursor` of the page before, unchanged"
            raise InvalidCursorError(msg) from error
