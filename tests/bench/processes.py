"""The processes of a measurement: started, asked, ended, and never left behind."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.runtime.process import log_tail, spawn
from chaos.runtime.proctree import MARKER
from tests.app.servers import free_port
from tests.bench.client import Order, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 20.0
ENDS_WITHIN_S = 8.0
ANSWERS_WITHIN_S = 5.0
POLL_S = 0.02
MAX_SHOWN = 300


class BenchError(Exception):
    """It could not be measured."""


def marker() -> str:
    """Return what marks every process of this measurement; `tests.app.servers` marks its own alike."""
    return f"test-{os.getpid()}-"


@contextmanager
def server(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    port: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Run `python -m arguments` with its output in a file, as a container would; give its port and pid."""
    port = port or free_port()
    log = folder / f"{name}.log"
    process = spawn(
        name,
        (sys.executable, "-m", *arguments),
        environment={
            "PATH": os.environ["PATH"],
            MARKER: f"{marker()}{name}",
            **environment,
            "PORT": str(port),
            "METRICS_PORT": "0",
        },
        cwd=ROOT,
        log=log,
    )
    try:
        _wait(name, process, port, log)
        yield port, process.pid
    finally:
        _end(process)


def _wait(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends_at = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < ends_at and process.poll() is None:
        try:
            fetch(port, "/livez")
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    raise BenchError(f"{name} does not answer; its last line: {log_tail(log, 1)[:MAX_SHOWN]}")


def fetch(port: int, path: str) -> bytes:
    """Get one body. Raises OSError, of which every failure of urllib is one."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}{path}", timeout=ANSWERS_WITHIN_S
    ) as answer:
        body: bytes = answer.read()
    return body


class Client:
    """The load process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Speak with `process`."""
        self._process = process

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Client]:
        """Run one; it ends when its input does, so it cannot outlive us."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.client"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], MARKER: f"{marker()}client"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield cls(process)
        finally:
            _end(process)

    def drive(self, order: Order) -> Result:
        """Have an order carried out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asdict(order))}\n".encode())
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], order.seconds + READY_WITHIN_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise BenchError("the load process gave no result")
        result = Result(**json.loads(line))
        if result.complaints:
            raise BenchError(f"{order.path}: wrong answer: {result.complaints[0]}")
        return result


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process politely, then for certain."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(ENDS_WITHIN_S)
