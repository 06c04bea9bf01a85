"""One request and what has been answered so far: the two ends between which an application works."""

from __future__ import annotations

import asyncio
from contextlib import suppress
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
# A refusal before the end of a streamed body is lost when the connection is cut while the client still sends, so a
# little more of the body is read, for a moment, before the answer.
DRAIN_BYTES, DRAIN_S = 1 << 20, 1.0


class Exchange:
    """Counts the body that comes in, and gives each answer the headers that all carry."""

    __slots__ = (
        *("_body_bytes", "_protection", "_receive", "_send"),
        *("_ends_at", "awaits_body", "body_complete", "context", "failed", "limit"),
        *("max_body_bytes", "rule", "scope", "status"),
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
        rule = self.rule = protection.streamed.get((scope["method"], scope["path"]))
        self.max_body_bytes = protection.max_body_bytes if rule is None else rule.max_bytes
        self._ends_at = 0.0 if rule is None else asyncio.get_running_loop().time() + rule.total_s

    async def receive(self) -> Message:
        """Pass the next part of the body on. Raises BodyTooLargeError, whatever Content-Length said."""
        if self.body_complete:
            return await self._receive()
        if self.rule is not None and self.limit is not None:
            left_s = self._ends_at - asyncio.get_running_loop().time()
            self.limit.extend(min(self.rule.idle_s, max(0.0, left_s)))
        self.awaits_body = True
        message = await self._receive()
        self.awaits_body = False
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            if self._body_bytes > self.max_body_bytes:
                raise BodyTooLargeError(self.max_body_bytes)
            self.body_complete = not message.get("more_body", False)
            if self.body_complete and self.rule is not None and self.limit is not None:
                self.limit.extend(self.rule.answer_s)
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
            if self.rule is not None and not self.body_complete:
                complete = await self._drain()
                if not complete and all(name != b"connection" for name, _ in headers):
                    headers.append((b"connection", b"close"))
            # A new list, since the old one may belong to an answer that is sent more than once.
            message["headers"] = headers
        if self.limit is not None:
            # From here on it is the pace that is limited: a long stream is no slow answer.
            self.limit.extend(STREAM_IDLE_S)
        await self._send(message)

    async def _drain(self) -> bool:
        """Read what is left of the body, if it is little and comes now; tell whether that was all.

        Who waits to be asked for it is not asked.
        """
        expects = any(name == b"expect" for name, _ in self.scope["headers"])
        if self.awaits_body or (expects and not self._body_bytes):
            return False
        left = DRAIN_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while left > 0 and not self.body_complete:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        return False
                    left -= len(message.get("body", b""))
                    self.body_complete = not message.get("more_body", False)
        return self.body_complete

    @property
    def outcome(self) -> str:
        """Return what the client got: a fallback's answer is not an error, and says so."""
        if self.failed or self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "error"
        return "degraded" if self.context.degraded else "ok"
