"""What is known about the request that is being served, for logs, metrics and the answer's headers."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class RequestContext:
    """One request.

    `degraded` collects the features that were answered by a fallback (`X-Degraded`); `user_id` is set once the
    caller has proved who they are.
    """

    correlation_id: str
    trace_id: str
    degraded: set[str] = field(default_factory=set)
    route: str | None = None
    user_id: str | None = None
    traceparent: str = ""


current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)
"""The request of the running task. A task that it starts inherits the same object, so marks made there count."""


def mark_degraded(feature: str) -> None:
    """Say that `feature` was answered by its fallback. Outside a request there is nobody to tell."""
    context = current.get()
    if context is not None:
        context.degraded.add(feature)
