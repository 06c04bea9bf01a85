"""The live origin as a process that tests ask, pause and kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import psutil

from tests.compose.promtool import ROOT
from tests.compose.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

KEY = "a-key-of-the-test"
WAIT_S = 15.0


class Origin:
    """The origin's process, and its HTTP side."""

    def __init__(self, folder: Path) -> None:
        """Keep the state in `folder`; not started."""
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it serves."""
        self.process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-m", "compose.standins.live_origin"],
            cwd=ROOT,
            env={"LIVE_KEY": KEY, "DATA_DIR": str(self.folder), "PORT": str(self.port)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        await until(self._serves)

    def encoders(self) -> list[psutil.Process]:
        """Return the processes that it started."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        """Kill it and all that it started. Harmless when it does not run."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(WAIT_S)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = KEY,
        limit_s: float = WAIT_S,
        **headers: str,
    ) -> tuple[int, bytes]:
        """Ask for exactly this path, dots and all; return status and body."""
        return await asyncio.to_thread(self._ask, method, path, key, limit_s, headers)

    def _ask(
        self, method: str, path: str, key: str | None, limit_s: float, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        given: dict[str, str | bytes] = dict(headers)
        if key is not None:
            given["Authorization"] = f"Bearer {key}".encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=limit_s)
        try:
            connection.request(method, path, headers=given)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    async def json(self, method: str, path: str, *, status: int = 200) -> dict[str, Any]:
        """Ask, expect `status`, and return the answer."""
        found, body = await self.ask(method, path)
        assert found == status, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def listed(self, name: str) -> list[str]:
        """Return the segments in a channel's playlist; none while there is no playlist."""
        status, body = await self.ask("GET", f"/live/{name}/index.m3u8")
        return re.findall(r"^(\d+\.ts)$", body.decode(), re.MULTILINE) if status == 200 else []

    async def sample(self, name: str) -> float:
        """Return one metric."""
        status, body = await self.ask("GET", "/metrics", key=None)
        found = re.search(rf"^{name} (\S+)$", body.decode(), re.MULTILINE)
        assert status == 200
        assert found is not None, name
        return float(found[1])

    async def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the origin ended at once"
        with contextlib.suppress(OSError):
            return (await self.ask("GET", "/health", key=None))[0] == 200
        return False


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = WAIT_S) -> None:
    """Wait until `condition` holds; fail when it does not come true in time."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.03)
