"""A typed client of Toxiproxy 2.12's control API, on the standard library alone so that the watchdog starts fast.

Every call has one limit for all of it. Over the limit the state is unknown, never "done": removing a toxic can hang
for good in 2.12 (Shopify/toxiproxy #412, #558), and the caller then restarts that edge's process.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Literal

from chaos.errors import HarnessError

CALL_WITHIN_S = 0.25
Stream = Literal["downstream", "upstream"]


class ToxiproxyError(HarnessError):
    """The control API refused a call, or nobody answers at its address."""


class ToxiproxyTimeoutError(ToxiproxyError):
    """No answer within the limit: the state is unknown, and the proxy's API must not be asked again."""


@dataclass(frozen=True, slots=True)
class LatencyToxic:
    """Delay each chunk by `latency_ms` ± `jitter_ms`."""

    name: str
    stream: Stream
    latency_ms: int
    jitter_ms: int = 0

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the API."""
        attributes = {"latency": self.latency_ms, "jitter": self.jitter_ms}
        return _toxic(self.name, "latency", self.stream, attributes)


@dataclass(frozen=True, slots=True)
class BlackholeToxic:
    """Drop all data and keep the connections open (Toxiproxy's `timeout` of 0)."""

    name: str
    stream: Stream

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the API."""
        return _toxic(self.name, "timeout", self.stream, {"timeout": 0})


Toxic = LatencyToxic | BlackholeToxic


@dataclass(frozen=True, slots=True)
class ToxicState:
    """A toxic as the API shows it."""

    name: str
    kind: str
    stream: str
    attributes: dict[str, int]


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy as the API shows it."""

    name: str
    enabled: bool
    toxics: tuple[ToxicState, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is in force on this proxy."""
        return self.enabled and not self.toxics


@dataclass(frozen=True, slots=True)
class Toxiproxy:
    """One Toxiproxy process. Calls block; use them from a thread."""

    host: str
    port: int
    within_s: float = CALL_WITHIN_S

    def proxies(self) -> dict[str, ProxyState]:
        """Return every proxy by name. Raises `ToxiproxyError`."""
        return {name: _proxy(data) for name, data in self._call("GET", "/proxies").items()}

    def proxy(self, name: str) -> ProxyState:
        """Return one proxy. Raises `ToxiproxyError`, also when it does not exist."""
        return _proxy(self._call("GET", f"/proxies/{name}"))

    def set_enabled(self, name: str, *, enabled: bool) -> ProxyState:
        """Open or refuse a route: refusing also closes what is open."""
        return _proxy(self._call("PATCH", f"/proxies/{name}", {"enabled": enabled}))

    def add_toxic(self, proxy: str, toxic: Toxic) -> None:
        """Put a toxic into force."""
        self._call("POST", f"/proxies/{proxy}/toxics", toxic.body())

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Take a toxic out of force; one that is not there is fine."""
        self._call("DELETE", f"/proxies/{proxy}/toxics/{name}", missing_is_fine=True)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        missing_is_fine: bool = False,
    ) -> dict[str, Any]:
        where = f"{method} {path} at {self.host}:{self.port}"
        until = time.monotonic() + self.within_s
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.within_s)
        try:
            connection.connect()
            _arm(connection, until, where)
            connection.request(method, path, None if body is None else json.dumps(body))
            _arm(connection, until, where)
            response = connection.getresponse()
            _arm(connection, until, where)
            data = response.read()
        except TimeoutError as error:
            raise ToxiproxyTimeoutError(f"{where}: no answer in {self.within_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise ToxiproxyError(f"{where}: {error!r}") from error
        finally:
            connection.close()
        if response.status == http.client.NOT_FOUND and missing_is_fine:
            return {}
        if response.status >= http.client.BAD_REQUEST:
            raise ToxiproxyError(
                f"{where}: {response.status} {data.decode(errors='replace')[:200].strip()}"
            )
        return dict(json.loads(data)) if data else {}


def _arm(connection: http.client.HTTPConnection, until: float, where: str) -> None:
    """Give the next step of a call only what is left of the whole call's time."""
    left = until - time.monotonic()
    if left <= 0:
        raise ToxiproxyTimeoutError(f"{where}: no answer in time")
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _toxic(name: str, kind: str, stream: Stream, attributes: dict[str, int]) -> dict[str, Any]:
    # Toxicity is drawn once per connection and redrawn by neighbours, so a share other than 1 would be a lie.
    return {"name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes}


def _proxy(data: dict[str, Any]) -> ProxyState:
    toxics = tuple(
        ToxicState(t["name"], t["type"], t["stream"], dict(t["attributes"]))
        for t in data["toxics"] or ()
    )
    return ProxyState(data["name"], bool(data["enabled"]), toxics)
