"""The load generator as a child process: start, ready, go, end. It shares nothing with us but the run folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from chaos.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

READY_WITHIN_S = 60.0
"""It may have to wait for the system, as for videos to be processed."""
DRAIN_WITHIN_S = 8.0


class LoadChild:
    """`python -m loadtests` beside a run folder: ready is announced by a file, the start is given by one."""

    def __init__(self, root: Path, folder: Path, host: str) -> None:
        """Prepare to drive `host` (a URL) with the plan in `folder`."""
        self.root, self.folder, self.host = root, folder, host
        self.process: asyncio.subprocess.Process | None = None
        self._tail = 0
        self.ended = 0
        self.bad = 0
        self.degraded = 0

    async def start(self) -> None:
        """Start the child; it announces readiness later."""
        log = (self.folder / "logs" / "load.log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "loadtests",
                    "--run-folder",
                    str(self.folder),
                    "--host",
                    self.host,
                ),
                cwd=self.root,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until the child is ready. Raises `HarnessError` with its log's last lines when it is not in time."""
        end = time.monotonic() + READY_WITHIN_S
        while not (self.folder / "load.ready").exists():
            if (
                self.process is None
                or self.process.returncode is not None
                or time.monotonic() > end
            ):
                raise HarnessError(f"the load generator did not get ready: {self._last_lines()}")
            await asyncio.sleep(0.02)

    def go(self, anchor_monotonic: float) -> None:
        """Give the start: t = 0 is at `anchor_monotonic`."""
        part = self.folder / ".load.go.part"
        part.write_text(json.dumps({"anchor_monotonic": anchor_monotonic}))
        part.replace(self.folder / "load.go")

    def follow(self) -> None:
        """Read what the ledger has gained, for the progress line. A line that is not whole yet waits."""
        ledger = self.folder / "arrivals.jsonl"
        if not ledger.exists():
            return
        with ledger.open("rb") as source:
            source.seek(self._tail)
            data = source.read()
        whole = data.rfind(b"\n") + 1
        self._tail += whole
        for line in data[:whole].splitlines():
            if b'"class"' not in line:
                continue
            self.ended += 1
            self.bad += b'"error"' in line or b'"timeout"' in line
            self.degraded += b'"class":"degraded"' in line.replace(b": ", b":")

    async def finish(self) -> None:
        """Let the child end by itself, else by SIGTERM, else by SIGKILL; then account for what it left."""
        process = self.process
        if process is None:
            return
        for ask in (None, signal.SIGTERM, signal.SIGKILL):
            if ask is not None:
                self.signal(ask)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), DRAIN_WITHIN_S)
                break
        if not (self.folder / "arrivals.parquet").exists():
            redo = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "loadtests.ledger", str(self.folder)),
                cwd=self.root,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await asyncio.wait_for(redo.wait(), READY_WITHIN_S)
            except TimeoutError as error:
                redo.kill()
                raise HarnessError(
                    "the arrival ledger could not be closed in time; see arrivals.jsonl"
                ) from error

    async def stop(self) -> None:
        """End the child now, as in an interrupted run."""
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGTERM)
            await self.finish()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's process group; harmless when it is gone."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _last_lines(self) -> str:
        log = self.folder / "logs" / "load.log"
        text = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        return " | ".join(text) or f"no output; see {log}"
