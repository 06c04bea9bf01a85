"""Which ids a request carries: the caller's when they are well formed, our own otherwise.

An id travels into headers, logs and other services. A hostile one is replaced and never echoed, so it can split
no header, forge no log line and grow no index.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,127}")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_TRACEPARENT_BYTES = 256


@dataclass(frozen=True, slots=True)
class Correlation:
    """The ids of one request."""

    correlation_id: str
    trace_id: str
    traceparent: str


def correlate(headers: Iterable[tuple[bytes, bytes]]) -> Correlation:
    """Return the ids for a request with these headers. Without a usable request id it is the trace id."""
    request_ids: list[bytes] = []
    parents: list[bytes] = []
    for name, value in headers:
        if name == b"x-request-id":
            request_ids.append(value)
        elif name == b"traceparent":
            parents.append(value)
    trace_id, flags = _trace(parents)
    # Two ids in one request are a contradiction; to choose one would let a caller hide the other.
    if len(request_ids) == 1 and _REQUEST_ID.fullmatch(request_ids[0]):
        correlation_id = request_ids[0].decode("ascii")
    else:
        correlation_id = trace_id
    return Correlation(correlation_id, trace_id, f"00-{trace_id}-{os.urandom(8).hex()}-{flags}")


def _trace(parents: list[bytes]) -> tuple[str, str]:
    """Return trace id and flags of the caller's `traceparent` (W3C Trace Context), or of a new trace."""
    if len(parents) == 1 and len(parents[0]) <= _MAX_TRACEPARENT_BYTES:
        match = _TRACEPARENT.fullmatch(parents[0].strip(b" \t"))
        if match:
            version, trace_id, parent_id, flags, more = match.groups()
            # Version ff is forbidden, version 00 ends after the flags, all-zero ids mean "none".
            known = version != b"ff" and not (version == b"00" and more)
            if known and trace_id.strip(b"0") and parent_id.strip(b"0"):
                # Of the flags only "sampled" is passed on; the others are reserved.
                return trace_id.decode("ascii"), f"{int(flags, 16) & 1:02x}"
    return os.urandom(16).hex(), "01"
