"""A real Toxiproxy with one proxy that leads nowhere."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from chaos.setup.locate import tool
from chaos.toxiproxy.client import Toxiproxy, ToxiproxyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UP_WITHIN_S = 10.0


def free_port() -> int:
    """Return a loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def toxiproxy(tmp_path: Path) -> Iterator[Toxiproxy]:
    """Toxiproxy with the proxies `route` and, of an awkward name, `a/b?c`."""
    port, listens = free_port(), [free_port(), free_port()]
    routes = tmp_path / "routes.json"
    proxy = '{{"name": "{}", "listen": "127.0.0.1:{}", "upstream": "127.0.0.1:1", "enabled": true}}'
    named = zip(("route", "a/b?c"), listens, strict=True)
    routes.write_text(f"[{', '.join(proxy.format(*pair) for pair in named)}]")
    command = [
        str(tool("toxiproxy-server")),
        "-host=127.0.0.1",
        f"-port={port}",
        f"-config={routes}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    api = Toxiproxy("127.0.0.1", port, within_s=2.0)
    try:
        until = time.monotonic() + UP_WITHIN_S
        while not _is_up(api):
            assert time.monotonic() < until, (tmp_path / "log").read_text()
        yield api
    finally:
        process.kill()
        process.wait(UP_WITHIN_S)


def _is_up(api: Toxiproxy) -> bool:
    try:
        return len(api.proxies()) == 2
    except ToxiproxyError:
        return False
