"""The provider as a process that tests ask and kill, an SDK that keeps what it sent, and a backend for webhooks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import stripe

from tests.compose.promtool import ROOT
from tests.compose.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from stripe.params import PaymentIntentCreateParamsAutomaticPaymentMethods

KEY = "sk_test_of_the_test"
SECRET = "whsec_of_the_test"  # noqa: S105 - signs nothing but these tests' webhooks
WAIT_S = 20.0
NEVER: PaymentIntentCreateParamsAutomaticPaymentMethods = {
    "enabled": True,
    "allow_redirects": "never",
}
"""Only methods that do not lead elsewhere: no return address is needed."""


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; fail when it does not come true in time."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.03)


def raw(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], Any]:
    """Send one request; return status, headers and the answer, read as JSON where it is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        is_json = found.get("content-type", "").startswith("application/json")
        return answer.status, found, json.loads(content) if is_json else content.decode()
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of the SDK and the status that it got."""

    method: str
    path: str
    body: str | None
    version: str
    status: int


class Recorder(stripe.RequestsClient):
    """The SDK's own HTTP client, which keeps what it sent and got."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        super().__init__(timeout=WAIT_S)
        self.sent: list[Sent] = []
        self.headers: list[dict[str, str]] = []

    def request(  # type: ignore[override] # the SDK's own subclasses differ from their base in this way too
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: str | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request and keep it."""
        answer = super().request(method, url, headers, post_data)
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        version = (headers or {}).get("Stripe-Version", "")
        self.sent.append(Sent(method.upper(), path, post_data, version, answer[1]))
        self.headers.append({name.lower(): value for name, value in answer[2].items()})
        return answer


@dataclass
class Provider:
    """The provider's process and its HTTP side."""

    folder: Path
    webhooks: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        environment = {
            "STRIPE_SECRET_KEY": KEY,
            "DATA_DIR": str(self.folder),
            "PORT": str(self.port),
        }
        if self.webhooks:
            environment |= {"WEBHOOK_URL": self.webhooks, "WEBHOOK_SECRET": SECRET}
        with (self.folder.parent / "provider.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "compose.standins.payments"],
                cwd=ROOT,
                env=environment,
                stderr=log,
                start_new_session=True,
            )
        until(self._serves)

    def kill(self) -> None:
        """Kill it at once. Harmless when it does not run."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(WAIT_S)
            self.process = None

    def control(self, method: str, path: str, **asked: object) -> dict[str, Any]:
        """Use the provider's control."""
        body = json.dumps(asked) if method != "GET" else None
        headers = {"Authorization": f"Bearer {KEY}"}
        status, _, answer = raw(self.port, method, f"/_control/{path}", body, headers)
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    def sample(self, series: str) -> float:
        """Return one metric, 0 when it is not there."""
        _, _, text = raw(self.port, "GET", "/metrics")
        for line in text.splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def client(self, recorder: Recorder) -> stripe.StripeClient:
        """Return the SDK as the backend has it."""
        url = f"http://127.0.0.1:{self.port}"
        return stripe.StripeClient(
            KEY, base_addresses={"api": url}, max_network_retries=0, http_client=recorder
        )

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the provider ended at once"
        with contextlib.suppress(OSError):
            return raw(self.port, "GET", "/health")[0] == 200
        return False


class Receiver:
    """A backend's webhook endpoint: keeps what came, and answers what it is told to."""

    def __init__(self) -> None:
        """Listen on a port of its own."""
        self.came: list[tuple[bytes, str]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.append((payload, self.headers["Stripe-Signature"]))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64  # 5 is less than the provider sends at once

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def events(self) -> list[stripe.Event]:
        """Return what came, each with its signature proved by the SDK, in the order of arrival."""
        return [
            stripe.Webhook.construct_event(payload, signature, SECRET)
            for payload, signature in self.came
        ]

    def types(self) -> list[str]:
        """Return what the events that came are of."""
        return [event.type for event in self.events()]


@dataclass(frozen=True, slots=True)
class Mock:
    """A running stripe-mock: Stripe's own judgement of parameters."""

    port: int

    def refused(self, sent: list[Sent]) -> list[tuple[str, object]]:
        """Return those of the requests that it does not accept, and what it says."""
        found = []
        for one in sent:
            headers = {"Authorization": "Bearer sk_test_123", "Stripe-Version": one.version}
            if one.body is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            status, _, answer = raw(self.port, one.method, one.path, one.body, headers)
            if status >= 300:
                found.append((f"{one.method} {one.path} {one.body}", answer))
        return found
