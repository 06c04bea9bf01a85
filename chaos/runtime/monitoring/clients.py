"""Typed clients of the Prometheus and Alertmanager HTTP APIs; every call has a limit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from chaos.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

CALL_LIMIT_S = 2.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector: its labels, its value, its time (Unix seconds)."""

    labels: dict[str, str]
    value: float
    time_s: float


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a range result: its labels and its points (Unix seconds, value)."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert as a server shows it.

    `state` is "pending" or "firing" at Prometheus and "active", "suppressed" or "unprocessed" at
    Alertmanager, which also knows the `fingerprint` and the `receivers`. `since` is the server's
    own text (RFC 3339).
    """

    name: str
    labels: dict[str, str]
    state: str
    since: str
    fingerprint: str = ""
    receivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleState:
    """One loaded rule: `kind` is "alerting" or "recording", `evaluated` whether it ever ran."""

    name: str
    group: str
    kind: str
    health: str
    last_error: str
    evaluated: bool


class _Client:
    """What both clients share: one session, one limit a call, one clear line on failure."""

    product = ""

    def __init__(self, base_url: str, *, limit_s: float = CALL_LIMIT_S) -> None:
        """Talk to the server at `http://host:port`; no call takes longer than `limit_s`."""
        self.base_url = base_url.rstrip("/")
        self._limit_s = limit_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Return the client; connections are opened by the first call."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections. Harmless twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ready(self) -> bool:
        """Return whether the server says that it is ready; False also when it does not answer."""
        try:
            await self._text("/-/ready")
        except HarnessError:
            return False
        return True

    async def _text(self, path: str, params: Mapping[str, str] | None = None) -> str:
        return (await self._get(path, params)).decode(errors="replace")

    async def _json(self, path: str, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        """Return the JSON of an answer, whatever it holds."""
        body = await self._get(path, params)
        try:
            return json.loads(body)
        except ValueError as error:
            raise HarnessError(
                f"{self.product} at {self.base_url} answered {path} with no JSON"
            ) from error

    async def _get(self, path: str, params: Mapping[str, str] | None) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._limit_s)
            )
        try:
            async with self._session.get(self.base_url + path, params=params) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = (
                f"no answer within {self._limit_s:g} s"
                if isinstance(error, TimeoutError)
                else str(error)
            )
            raise HarnessError(
                f"{self.product} at {self.base_url} failed on {path}: {why}"
            ) from error
        if response.status != _OK:
            said = body[:200].decode(errors="replace").strip()
            raise HarnessError(
                f"{self.product} at {self.base_url} answered {path} with {response.status}: {said}"
            )
        return body


class Prometheus(_Client):
    """What a run needs of Prometheus' API; each method raises `HarnessError` on trouble."""

    product = "Prometheus"

    async def query(self, expr: str, *, at: float | None = None) -> tuple[Sample, ...]:
        """Return the instant vector of `expr` at the Unix time `at` (now by default)."""
        params = {"query": expr} if at is None else {"query": expr, "time": f"{at:.3f}"}
        data = await self._data("/api/v1/query", params)
        if data["resultType"] == "scalar":
            stamp, value = data["result"]
            return (Sample({}, float(value), float(stamp)),)
        return tuple(
            Sample(r["metric"], float(r["value"][1]), float(r["value"][0])) for r in data["result"]
        )

    async def value(self, expr: str, *, at: float | None = None) -> float | None:
        """Return the sum of the instant vector of `expr`, None when it is empty."""
        samples = await self.query(expr, at=at)
        return sum(s.value for s in samples) if samples else None

    async def query_range(
        self, expr: str, *, start: float, end: float, step_s: float
    ) -> tuple[Series, ...]:
        """Return the series of `expr` between two Unix times, one point every `step_s`."""
        params = {
            "query": expr,
            "start": f"{start:.3f}",
            "end": f"{end:.3f}",
            "step": f"{step_s:.3f}",
        }
        data = await self._data("/api/v1/query_range", params)
        return tuple(
            Series(r["metric"], tuple((float(t), float(v)) for t, v in r["values"]))
            for r in data["result"]
        )

    async def alerts(self) -> tuple[ActiveAlert, ...]:
        """Return every pending and firing alert."""
        data = await self._data("/api/v1/alerts", {})
        return tuple(
            ActiveAlert(_name(a["labels"]), _labels(a["labels"]), a["state"], a["activeAt"])
            for a in data["alerts"]
        )

    async def rules(self) -> tuple[RuleState, ...]:
        """Return every loaded rule."""
        data = await self._data("/api/v1/rules", {})
        return tuple(
            RuleState(
                name=rule["name"],
                group=group["name"],
                kind=rule["type"],
                health=rule["health"],
                last_error=rule.get("lastError", ""),
                evaluated=not rule["lastEvaluation"].startswith("0001-"),
            )
            for group in data["groups"]
            for rule in group["rules"]
        )

    async def targets(self) -> dict[str, bool]:
        """Return for each scrape job whether all of its targets were up at their last scrape."""
        data = await self._data("/api/v1/targets", {"state": "active"})
        up: dict[str, bool] = {}
        for target in data["activeTargets"]:
            job = target["labels"]["job"]
            up[job] = up.get(job, True) and target["health"] == "up"
        return up

    async def _data(self, path: str, params: Mapping[str, str]) -> Any:  # noqa: ANN401 (JSON)
        answer = await self._json(path, params)
        if not isinstance(answer, dict) or "data" not in answer:
            raise HarnessError(f"Prometheus at {self.base_url} answered {path} without data")
        return answer["data"]


class Alertmanager(_Client):
    """What a run needs of Alertmanager's API; each method raises `HarnessError` on trouble."""

    product = "Alertmanager"

    async def alerts(self) -> tuple[ActiveAlert, ...]:
        """Return every alert that Alertmanager holds, inhibited ones included."""
        data = await self._json("/api/v2/alerts")
        return tuple(
            ActiveAlert(
                name=_name(a["labels"]),
                labels=_labels(a["labels"]),
                state=a["status"]["state"],
                since=a["startsAt"],
                fingerprint=a["fingerprint"],
                receivers=tuple(r["name"] for r in a["receivers"]),
            )
            for a in data
        )


def _name(labels: Mapping[str, str]) -> str:
    return labels.get("alertname", "")


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in sorted(labels.items()) if k != "alertname"}
