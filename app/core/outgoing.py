"""What every call that leaves the process carries, so that its other end can be found by the same ids."""

from __future__ import annotations

import os

from app.core.context import current


def outgoing_headers() -> dict[str, str]:
    """Return `traceparent` (same trace, its own span) and `X-Request-ID` of the current request; {} outside one."""
    context = current.get()
    if context is None:
        return {}
    # The last two digits say whether the caller sampled the trace (W3C Trace Context).
    flags = context.traceparent[-2:] or "01"
    return {
        "traceparent": f"00-{context.trace_id}-{os.urandom(8).hex()}-{flags}",
        "X-Request-ID": context.correlation_id,
    }
