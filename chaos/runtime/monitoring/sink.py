"""The webhook receiver of a run: what Alertmanager really delivered, with the time it arrived."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from chaos.errors import HarnessError
from chaos.model.evidence import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

MAX_BODY_BYTES = 4 * 1024 * 1024
SHUTDOWN_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Recording:
    """Where deliveries go and by which clock they are stamped."""

    folder: Path
    clock: Callable[[], float]


class WebhookSink:
    """An HTTP server on 127.0.0.1 that takes Alertmanager's notifications.

    It may outlive a run: `record` points it at a run folder, where `webhook.jsonl` gets one line an
    alert and `webhook-raw.jsonl` one line a notification as it came. What arrives outside a
    recording is only counted.
    """

    def __init__(self) -> None:
        """Prepare a sink; `start` opens its port."""
        self.deliveries: list[Delivery] = []
        self.refused = 0
        self.unrecorded = 0
        self._recording: _Recording | None = None
        self._runner: web.AppRunner | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """The `host:port` that notifications must be sent to."""
        if not self._address:
            raise HarnessError("the webhook sink has no address before start()")
        return self._address

    async def start(self, *, port: int = 0) -> str:
        """Listen on 127.0.0.1 (on a free port by default) and return the address."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/{receiver:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_LIMIT_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise HarnessError(
                f"the webhook sink cannot listen on 127.0.0.1:{port}: {error}"
            ) from error
        host, bound = self._runner.addresses[0][:2]
        self._address = f"{host}:{bound}"
        return self._address

    async def stop(self) -> None:
        """Close the port. Harmless twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        """Start listening."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        await self.stop()

    def record(self, folder: Path, clock: Callable[[], float]) -> None:
        """From now on write into `folder`, stamped by `clock` (seconds from the run's start)."""
        self.deliveries = []
        self.refused = 0
        self._recording = _Recording(folder, clock)
        for name in ("webhook.jsonl", "webhook-raw.jsonl"):
            (folder / name).touch()

    def stop_recording(self) -> None:
        """From now on only count what arrives."""
        self._recording = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            notification = json.loads(body)
            found = _deliveries(notification, 0.0)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.refused += 1
            return web.Response(
                status=400, text="expected an Alertmanager webhook notification (version 4)\n"
            )
        recording = self._recording
        if recording is None:
            self.unrecorded += len(found)
            return web.Response()
        t_s = round(recording.clock(), 4)
        found = _deliveries(notification, t_s)
        _append(recording.folder / "webhook.jsonl", [asdict(d) for d in found])
        raw = {"t_s": t_s, "path": request.path, "notification": notification}
        _append(recording.folder / "webhook-raw.jsonl", [raw])
        self.deliveries.extend(found)
        return web.Response()


def _deliveries(notification: dict[str, Any], t_s: float) -> list[Delivery]:
    found = []
    for alert in notification["alerts"]:
        labels = {str(k): str(v) for k, v in sorted(alert["labels"].items())}
        name = labels.pop("alertname")
        found.append(Delivery(t_s, alert["status"], name, labels, alert["fingerprint"]))
    return found


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append whole lines in one write, so that a crash cuts at most the last one."""
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
