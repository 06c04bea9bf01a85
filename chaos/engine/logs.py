"""The components' logs of one run: cut out of the stack's logs, and the events that checks look at."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chaos.runtime.base import Stack

MAX_LOG_BYTES = 64 * 1024 * 1024
EVENTS = ("breaker_", "health_", "app_started", "app_stopped")


def log_sizes(stack: Stack) -> dict[str, int]:
    """Return how long each component's log is now."""
    out: dict[str, int] = {}
    for part in stack.topology.components:
        path = stack.log_path(part.name)
        out[part.name] = path.stat().st_size if path.exists() else 0
    return out


def collect_logs(stack: Stack, offsets: dict[str, int], folder: Path, anchor_wall: float) -> None:
    """Copy what was logged since `offsets` into `folder/logs/*.jsonl` and its notable events into `events.jsonl`."""
    events: list[dict[str, Any]] = []
    for name, offset in offsets.items():
        source = stack.log_path(name)
        if not source.exists():
            continue
        with source.open("rb") as log:
            log.seek(offset)
            data = log.read(MAX_LOG_BYTES)
        (folder / "logs" / f"{name}.jsonl").write_bytes(b"".join(_json_lines(data)))
        events.extend(_events(name, data, anchor_wall))
    events.sort(key=lambda e: float(e["t_s"]))
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


def _json_lines(data: bytes) -> Iterator[bytes]:
    """Yield each line as JSON; a line of a server that logs plain text becomes `{"line": ...}`."""
    for line in data.splitlines():
        if line.startswith(b"{"):
            yield line + b"\n"
        elif line.strip():
            yield json.dumps({"line": line.decode(errors="replace")}).encode() + b"\n"


def _events(component: str, data: bytes, anchor_wall: float) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        if not line.startswith(b"{") or not any(name.encode() in line for name in EVENTS):
            continue
        try:
            record = json.loads(line)
            event, stamp = str(record["event"]), datetime.fromisoformat(record["timestamp"])
        except (ValueError, KeyError, TypeError):
            continue
        if event.startswith(EVENTS):
            fields = {k: v for k, v in record.items() if k not in {"event", "timestamp"}}
            yield {
                "t_s": stamp.timestamp() - anchor_wall,
                "component": component,
                "event": event,
                "fields": fields,
            }
