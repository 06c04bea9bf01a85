"""Ids on calls that leave the process, as the other end sees them."""

from __future__ import annotations

import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from app.core.context import RequestContext, current
from app.core.outgoing import outgoing_headers
from app.infrastructure.object_store import ObjectStore, object_store_guard
from tests.app.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from tests.app.servers import Server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
SEEN = ("x-request-id", "traceparent")
HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


@contextmanager
def recorder(target: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Stand in front of an S3 server; give the own address and the ids of each request that passed."""
    seen: list[dict[str, str]] = []

    class Recorder(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            seen.append({n: self.headers[n] for n in SEEN if n in self.headers})
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            request = urllib.request.Request(
                f"http://{target}{self.path}", body or None, dict(self.headers), method=self.command
            )
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    status, headers, data = answer.status, answer.headers, answer.read()
            except HTTPError as error:
                with error:
                    status, headers, data = error.code, error.headers, error.read()
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = pass_on  # noqa: N815 - the names that the base class looks for

        def log_message(self, format: str, *_args: object) -> None:  # noqa: A002 - the base's own name
            """Say nothing."""

    port = free_port()
    with ThreadingHTTPServer(("127.0.0.1", port), Recorder) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_nothing_outside_a_request() -> None:
    """Work for nobody carries no ids."""
    assert outgoing_headers() == {}


@pytest.mark.parametrize("flags", ["00", "01"])
def test_same_trace_new_span(flags: str) -> None:
    """Each call is a span of its own in the caller's trace, sampled as the caller decided."""
    context = RequestContext("a-request-id", TRACE)
    context.traceparent = f"00-{TRACE}-{SPAN}-{flags}"
    token = current.set(context)
    first, second = outgoing_headers(), outgoing_headers()
    current.reset(token)

    assert first["X-Request-ID"] == "a-request-id"
    spans = set()
    for headers in (first, second):
        version, trace, span, own_flags = headers["traceparent"].split("-")
        assert (version, trace, own_flags) == ("00", TRACE, flags)
        spans.add(span)
    assert len(spans | {SPAN}) == 3


async def test_store_calls_carry_the_ids(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Reads and writes of the store carry the ids of the request that made them, threads or not, and are accepted."""
    with recorder(object_store_process.address) as (address, seen):
        own = settings.model_copy(update={"s3_endpoint": address})
        store = ObjectStore(own, object_store_guard(metrics))
        await store.ensure_bucket()
        assert seen
        assert not any(seen)
        seen.clear()
        for number in range(2):
            context = RequestContext(f"request-{number}", TRACE)
            context.traceparent = f"00-{TRACE}-{SPAN}-01"
            token = current.set(context)
            await store.put("key", b"data", "text/plain")
            assert (await store.get("key")).data == b"data"
            assert await store.exists("key")
            current.reset(token)
        await store.close()

    assert [ids["x-request-id"] for ids in seen] == ["request-0"] * 3 + ["request-1"] * 3
    spans = {ids["traceparent"].split("-")[2] for ids in seen}
    assert {ids["traceparent"].split("-")[1] for ids in seen} == {TRACE}
    assert len(spans | {SPAN}) == 7
