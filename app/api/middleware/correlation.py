"""Which ids a request carries: the caller's when they are well formed, our own otherwise.

An id travels into headers, logs and other services. A hostile one is replaced and never echoed, so it can split
no header, forge no log line and grow no index.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from app.core.context import RequestContext

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,127}")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_TRACEPARENT_BYTES = 256
_IDS = (b"x-request-id", b"traceparent")


def correlate(
    headers: Collection[tuple[bytes, bytes]], known: Mapping[bytes, bytes]
) -> RequestContext:
    """Return the context of a request with these headers; `known` are the same by name.

    Without a usable request id it is the trace id.
    """
    request_id, parent = known.get(b"x-request-id"), known.get(b"traceparent")
    if len(known) < len(headers):
        # Two ids in one request are a contradiction; to choose one would let a caller hide the other.
        names = [name for name, _ in headers if name in _IDS]
        request_id = request_id if names.count(b"x-request-id") == 1 else None
        parent = parent if names.count(b"traceparent") == 1 else None
    trace_id, flags = _trace(parent)
    if request_id is not None and _REQUEST_ID.fullmatch(request_id):
        correlation_id = request_id.decode("ascii")
    else:
        correlation_id = trace_id
    context = RequestContext(correlation_id, trace_id)
    context.traceparent = f"00-{trace_id}-{os.urandom(8).hex()}-{flags}"
    return context


def _trace(parent: bytes | None) -> tuple[str, str]:
    """Return trace id and flags of the caller's `traceparent` (W3C Trace Context), or of a new trace."""
    if parent is not None and len(parent) <= _MAX_TRACEPARENT_BYTES:
        match = _TRACEPARENT.fullmatch(parent.strip(b" \t"))
        if match:
            version, trace_id, parent_id, flags, more = match.groups()
            # Version ff is forbidden, version 00 ends after the flags, all-zero ids mean "none".
            known = version != b"ff" and not (version == b"00" and more)
            if known and trace_id.strip(b"0") and parent_id.strip(b"0"):
                # Of the flags only "sampled" is passed on; the others are reserved.
                return trace_id.decode("ascii"), "01" if int(flags, 16) & 1 else "00"
    return os.urandom(16).hex(), "01"
