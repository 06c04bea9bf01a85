"""Watch both alerting servers several times a second and write down every change of state."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from chaos.errors import HarnessError
from chaos.model.evidence import AlertEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from chaos.runtime.monitoring.clients import ActiveAlert, Alertmanager, Prometheus

INTERVAL_S = 0.25
STOP_LIMIT_S = 5.0

_ALERTMANAGER_STATES = {"unprocessed": "pending", "active": "firing", "suppressed": "firing"}
"""A suppressed alert fires; only its notification is withheld."""


class AlertSampler:
    """Appends an `AlertEvent` line to `alerts.jsonl` at every change that either server shows.

    An alert that is no longer shown is "resolved". A poll that fails changes nothing, since nothing
    was seen; it is counted in `poll_errors` and shows as `longest_gap_s`, so that a blind stretch
    is never taken for silence.
    """

    def __init__(
        self,
        prometheus: Prometheus,
        alertmanager: Alertmanager,
        path: Path,
        clock: Callable[[], float],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Write to `path`, stamped by `clock` (seconds from the run's start)."""
        self.events: list[AlertEvent] = []
        self.polls = {"prometheus": 0, "alertmanager": 0}
        self.poll_errors = {"prometheus": 0, "alertmanager": 0}
        self.longest_gap_s = {"prometheus": 0.0, "alertmanager": 0.0}
        self._sources: dict[str, Prometheus | Alertmanager] = {
            "prometheus": prometheus,
            "alertmanager": alertmanager,
        }
        self._path = path
        self._clock = clock
        self._interval_s = interval_s
        self._shown: dict[str, dict[str, AlertEvent]] = {"prometheus": {}, "alertmanager": {}}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start polling."""
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop polling."""
        await self.stop()

    def start(self) -> None:
        """Start polling each server at its own pace: one that hangs must not blind the other."""
        self._path.touch()
        self._tasks = [asyncio.create_task(self._watch(source)) for source in self._sources]

    async def stop(self) -> None:
        """Stop polling. Raises `HarnessError` when the sampler itself had broken off earlier."""
        tasks, self._tasks = self._tasks, []
        broken = [t.exception() for t in tasks if t.done() and not t.cancelled()]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT_S):
                await asyncio.gather(*tasks, return_exceptions=True)
        if broken:
            raise HarnessError(f"the alert sampler broke off: {broken[0]!r}")

    def firing(self, source: str = "prometheus") -> tuple[AlertEvent, ...]:
        """Return what `source` showed as firing at its last answered poll."""
        return tuple(e for e in self._shown[source].values() if e.state == "firing")

    def facts(self) -> dict[str, Any]:
        """Return how well both servers were watched, for `monitoring.json`."""
        return {
            "polls": dict(self.polls),
            "poll_errors": dict(self.poll_errors),
            "longest_gap_s": {k: round(v, 3) for k, v in self.longest_gap_s.items()},
        }

    async def _watch(self, source: str) -> None:
        last_answer = time.monotonic()
        due = last_answer
        while True:
            self.polls[source] += 1
            try:
                alerts = await self._sources[source].alerts()
            except HarnessError:
                self.poll_errors[source] += 1
                self._note_gap(source, last_answer)
            else:
                self._note_gap(source, last_answer)
                last_answer = time.monotonic()
                self._compare(source, alerts)
            due = max(due + self._interval_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _note_gap(self, source: str, last_answer: float) -> None:
        self.longest_gap_s[source] = max(self.longest_gap_s[source], time.monotonic() - last_answer)

    def _compare(self, source: str, alerts: tuple[ActiveAlert, ...]) -> None:
        t_s = round(self._clock(), 4)
        before = self._shown[source]
        after: dict[str, AlertEvent] = {}
        for alert in alerts:
            state = (
                alert.state
                if source == "prometheus"
                else _ALERTMANAGER_STATES.get(alert.state, "firing")
            )
            key = json.dumps([alert.name, alert.labels])
            after[key] = AlertEvent(t_s, source, alert.name, alert.labels, state)
        changes = [e for k, e in after.items() if k not in before or before[k].state != e.state]
        changes += [
            AlertEvent(t_s, source, e.name, e.labels, "resolved")
            for k, e in before.items()
            if k not in after
        ]
        self._shown[source] = after
        self.events.extend(changes)
        if changes:
            with self._path.open("a") as file:
                file.write("".join(json.dumps(asdict(e)) + "\n" for e in changes))
