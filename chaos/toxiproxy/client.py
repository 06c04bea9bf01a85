"""A typed client of Toxiproxy 2.12's control API, on the standard library alone so that the watchdog starts fast.

Every call has one limit for all of it. Over the limit the state is unknown, never "done": adding or removing a
toxic can hang for good in 2.12 (Shopify/toxiproxy #412, #558), and the caller then restarts that edge's process.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from chaos.errors import HarnessError
from chaos.toxiproxy.toxics import ToxicState

if TYPE_CHECKING:
    from chaos.toxiproxy.toxics import Toxic

CALL_WITHIN_S = 0.25


class ToxiproxyError(HarnessError):
    """The control API refused a call, answered nonsense, or nobody listens at its address."""


class ToxiproxyTimeoutError(ToxiproxyError):
    """No answer within the limit: the state is unknown, and the proxy's API must not be asked again."""


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy as the API shows it; `listen` and `upstream` are host:port."""

    name: str
    enabled: bool
    toxics: tuple[ToxicState, ...]
    listen: str = ""
    upstream: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing is in force on this proxy."""
        return self.enabled and not self.toxics


@dataclass(frozen=True, slots=True)
class Toxiproxy:
    """One Toxiproxy process. Calls block at most `within_s`; use them from a thread."""

    host: str
    port: int
    within_s: float = CALL_WITHIN_S

    def proxies(self) -> dict[str, ProxyState]:
        """Return every proxy by name. Raises `ToxiproxyError`."""
        return {name: _proxy(data) for name, data in self._call("GET", "/proxies").items()}

    def proxy(self, name: str) -> ProxyState:
        """Return one proxy. Raises `ToxiproxyError`, also when it does not exist."""
        return _proxy(self._call("GET", f"/proxies/{_quote(name)}"))

    def set_enabled(self, name: str, *, enabled: bool) -> ProxyState:
        """Open or refuse a route: refusing also closes what is open."""
        return _proxy(self._call("PATCH", f"/proxies/{_quote(name)}", {"enabled": enabled}))

    def add_toxic(self, proxy: str, toxic: Toxic) -> None:
        """Put a toxic into force. Raises `ToxiproxyError`, also when its name is taken."""
        state = toxic.state
        body = {
            "name": state.name,
            "type": state.kind,
            "stream": state.stream,
            "toxicity": state.toxicity,
            "attributes": state.attributes,
        }
        self._call("POST", f"/proxies/{_quote(proxy)}/toxics", body)

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Take a toxic out of force; one that is not there is fine."""
        path = f"/proxies/{_quote(proxy)}/toxics/{_quote(name)}"
        self._call("DELETE", path, missing_is_fine=True)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        missing_is_fine: bool = False,
    ) -> dict[str, Any]:
        where = f"{method} {path} at {self.host}:{self.port}"
        try:
            status, data = self._exchange(method, path, body)
        except TimeoutError as error:
            raise ToxiproxyTimeoutError(
                f"{where}: no answer in {self.within_s:g} s; its state is unknown"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ToxiproxyError(f"{where}: {error!r}; does this Toxiproxy run?") from error
        if status == http.client.NOT_FOUND and missing_is_fine:
            return {}
        text = data.decode(errors="replace")
        if status >= http.client.BAD_REQUEST:
            raise ToxiproxyError(f"{where}: {status} {text[:200].strip()}")
        try:
            answer = json.loads(text) if text else {}
        except ValueError as error:
            raise ToxiproxyError(f"{where}: {text[:200]!r}; expected JSON") from error
        if not isinstance(answer, dict):
            raise ToxiproxyError(f"{where}: {text[:200]!r}; expected a JSON object")
        return answer

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Send one request on a connection of its own, and read to the end of it.

        A socket's timeout holds for one read only, so an answer that drips would take for ever: each read gets
        what is left of the whole call's time, and the bytes are understood when all are there.
        """
        until = time.monotonic() + self.within_s
        with socket.create_connection((self.host, self.port), self.within_s) as wire:
            connection = http.client.HTTPConnection(self.host, self.port)
            connection.sock = wire
            payload = None if body is None else json.dumps(body)
            wire.settimeout(_left(until))
            connection.request(method, path, payload, {"Connection": "close"})
            answer = bytearray()
            while True:
                wire.settimeout(_left(until))
                chunk = wire.recv(65_536)
                if not chunk:
                    break
                answer += chunk
        return _parse(bytes(answer), method)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Bytes that already arrived, with the one method of a socket that `http.client` reads by."""

    data: bytes

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def _parse(data: bytes, method: str) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(cast("socket.socket", _Recorded(data)), method=method)
    response.begin()
    return response.status, response.read()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _proxy(data: Any) -> ProxyState:  # noqa: ANN401 (JSON from outside)
    try:
        toxics = tuple(
            ToxicState(
                t["name"], t["type"], t["stream"], dict(t["attributes"]), float(t["toxicity"])
            )
            for t in data["toxics"] or ()
        )
        enabled = bool(data["enabled"])
        return ProxyState(data["name"], enabled, toxics, data["listen"], data["upstream"])
    except (KeyError, TypeError, ValueError) as error:
        raise ToxiproxyError(f"the control API showed {data!r:.200}; expected a proxy") from error
