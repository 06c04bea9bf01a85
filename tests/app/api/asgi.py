"""Drives an ASGI application as a server would, one request at a time, without a socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

LIMIT_S = 10.0


@dataclass
class Answer:
    """What the application sent."""

    status: int | None = None
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers by lower-case name."""
        return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.raw_headers}

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass
class Call:
    """A request; `answer` grows while it is served."""

    app: ASGIApp
    method: str
    path: str
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    client: str = "127.0.0.1"
    sent: bool = False
    answer: Answer = field(default_factory=Answer)

    async def run(self) -> Answer:
        """Serve the request to its end."""
        async with asyncio.timeout(LIMIT_S):
            await self.app(self._scope(), self._receive, self._send)
        return self.answer

    def _scope(self) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "root_path": "",
            "headers": [
                (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in self.headers
            ],
            "client": (self.client, 50000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }

    async def _receive(self) -> Message:
        if self.sent:
            await asyncio.Event().wait()  # the client stays
        self.sent = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.raw_headers = list(message["headers"])
            return
        self.answer.body += message.get("body", b"")
        self.answer.complete = not message.get("more_body", False)


async def call(app: ASGIApp, method: str, path: str, **more: Any) -> Answer:
    """Serve one request and return its answer."""
    path, _, query = path.partition("?")
    return await Call(app, method, path, query, **more).run()
