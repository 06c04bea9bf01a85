"""The webhook sink writes what was delivered, and only what was delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from chaos.errors import HarnessError
from chaos.model.evidence import Delivery, read_jsonl
from chaos.runtime.monitoring import WebhookSink

if TYPE_CHECKING:
    from pathlib import Path

NOTIFICATION = {
    "version": "4",
    "status": "firing",
    "receiver": "pager",
    "alerts": [
        {
            "status": status,
            "labels": {"alertname": "CacheDown", "dependency": "redis-cache"},
            "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z",
            "fingerprint": "f00d",
        }
        for status in ("firing", "resolved")
    ],
}


async def post(sink: WebhookSink, body: Any) -> int:
    """Deliver like Alertmanager and return the status."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
        http.post(f"http://{sink.address}/pager", json=body) as response,
    ):
        return response.status


async def test_a_notification_becomes_one_line_an_alert(tmp_path: Path) -> None:
    """`webhook.jsonl` has Deliveries on the run's clock, and the raw body stands beside it."""
    async with WebhookSink() as sink:
        sink.record(tmp_path, lambda: 12.34567)
        assert await post(sink, NOTIFICATION) == 200

    deliveries = [Delivery(**line) for line in read_jsonl(tmp_path / "webhook.jsonl")]
    labels = {"dependency": "redis-cache"}
    assert deliveries == [
        Delivery(12.3457, "firing", "CacheDown", labels, "f00d"),
        Delivery(12.3457, "resolved", "CacheDown", labels, "f00d"),
    ]
    assert deliveries == sink.deliveries
    (raw,) = read_jsonl(tmp_path / "webhook-raw.jsonl")
    assert raw == {"t_s": 12.3457, "path": "/pager", "notification": NOTIFICATION}


@pytest.mark.parametrize("body", [[], {}, {"alerts": [{}]}, {"alerts": 5}, "text", None])
async def test_what_is_no_notification_is_refused_and_counted(tmp_path: Path, body: Any) -> None:
    """Garbage is answered 400 and leaves no line."""
    async with WebhookSink() as sink:
        sink.record(tmp_path, lambda: 0.0)
        assert await post(sink, body) == 400

    assert sink.refused == 1
    assert read_jsonl(tmp_path / "webhook.jsonl") == []


async def test_nothing_is_written_between_runs(tmp_path: Path) -> None:
    """What arrives after a run's recording is counted, not written into the run's folder."""
    async with WebhookSink() as sink:
        sink.record(tmp_path, lambda: 0.0)
        sink.stop_recording()
        assert await post(sink, NOTIFICATION) == 200

    assert sink.unrecorded == 2
    assert read_jsonl(tmp_path / "webhook.jsonl") == []


async def test_a_taken_port_is_one_clear_line() -> None:
    """Two sinks cannot have one port, and the second says so."""
    async with WebhookSink() as first:
        port = int(first.address.rpartition(":")[2])
        with pytest.raises(HarnessError, match=f"cannot listen on 127.0.0.1:{port}"):
            await WebhookSink().start(port=port)


def test_no_address_before_the_start() -> None:
    """An address that nobody listens on is never handed out."""
    with pytest.raises(HarnessError, match="before start"):
        _ = WebhookSink().address
