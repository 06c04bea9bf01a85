"""One request and what has been answered so far: the two ends between which an application works."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from app.api.middleware.protection import DOCUMENTATION, BodyTooLargeError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from app.api.middleware.protection import Protection
    from app.core.context import RequestContext
    from app.core.resilience.deadline import deadline

# An answer that has begun may take as long as it needs, if it moves at least this often.
STREAM_IDLE_S = 10.0


class Exchange:
    """Counts the body that comes in, and gives each answer the headers that all carry."""

    __slots__ = (
        *("_body_bytes", "_protection", "_receive", "_send"),
        *("awaits_body", "body_complete", "context", "failed", "limit", "scope", "status"),
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        context: RequestContext,
        protection: Protection,
    ) -> None:
        self.scope = scope
        self.context = context
        self.status: int | None = None
        self.failed = False
        self.limit: deadline | None = None
        self.awaits_body = False
        self.body_complete = False
        self._body_bytes = 0
        self._receive = receive
        self._send = send
        self._protection = protection

    async def receive(self) -> Message:
        """Pass the next part of the body on. Raises BodyTooLargeError, whatever Content-Length said."""
        if self.body_complete:
            return await self._receive()
        self.awaits_body = True
        message = await self._receive()
        self.awaits_body = False
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            if self._body_bytes > self._protection.max_body_bytes:
                raise BodyTooLargeError(self._protection.max_body_bytes)
            self.body_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets the headers that every answer carries."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            context, protection = self.context, self._protection
            page = self.scope["path"] in DOCUMENTATION
            headers = [
                *message.get("headers", ()),
                (b"x-request-id", context.correlation_id.encode("ascii")),
                (b"traceparent", context.traceparent.encode("ascii")),
                *(protection.page_headers if page else protection.headers),
            ]
            if context.degraded:
                features = ", ".join(sorted(context.degraded))
                headers.append((b"x-degraded", features.encode("ascii")))
            # A new list, since the old one may belong to an answer that is sent more than once.
            message["headers"] = headers
        if self.limit is not None:
            # From here on it is the pace that is limited: a long stream is no slow answer.
            self.limit.extend(STREAM_IDLE_S)
        await self._send(message)

    @property
    def outcome(self) -> str:
        """Return what the client got: a fallback's answer is not an error, and says so."""
        if self.failed or self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "error"
        return "degraded" if self.context.degraded else "ok"
