"""Real servers for tests: started on a free port, stopped, continued, killed and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.runtime.proctree import MARKER, Family, exterminate, freeze, identify, thaw
from chaos.runtime.unprivileged import reachable_program, unprivileged_uid
from chaos.setup.locate import tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

READY_WITHIN_S = 10.0
POLL_S = 0.01
S3_KEY = "socialflow"
S3_SECRET = "socialflow-development"  # noqa: S105 - of a server that lives for one test
LIVE_KEY = "socialflow-development-live"


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One server with all of its processes; `port` stays the same over restarts."""

    command: Sequence[str | Path]
    port: int
    uid: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    answers: Callable[[int], bool] | None = None
    _process: subprocess.Popen[bytes] | None = None
    _family: Family | None = None

    @property
    def address(self) -> str:
        """Return host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        ids = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": ()}
        self._process = subprocess.Popen(
            [str(part) for part in self.command],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "LC_ALL": "C.UTF-8",
                MARKER: self._marker,
                **self.environment,
            },
            **ids,  # type: ignore[call-overload]
        )
        leader = identify(self._process.pid)
        self._family = Family((leader,) if leader else (), self._marker, self.folders)
        ends_at = time.monotonic() + READY_WITHIN_S
        answers = self.answers or _accepts
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > ends_at:
                self.kill()
                raise AssertionError(f"{self.command[0]} did not answer on port {self.port}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Freeze it: sockets stay open, nothing answers (SIGSTOP)."""
        if self._family is not None:
            freeze(self._family)

    def resume(self) -> None:
        """Let it run on."""
        if self._family is not None:
            thaw(self._family)

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait until nothing of it is left."""
        if self._process is not None and self._family is not None:
            left = exterminate(self._family)
            self._process.wait(READY_WITHIN_S)
            self._process = self._family = None
            assert not left

    @property
    def _marker(self) -> str:
        return f"test-{os.getpid()}-{self.port}"


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def valkey_server() -> Iterator[Server]:
    """Run a Valkey that keeps nothing on disk."""
    port = free_port()
    program = tool("valkey-server")
    command: list[str | Path] = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        "/",
    ]
    with _running(Server(command, port, answers=_says_pong)) as server:
        yield server


@contextmanager
def object_store_server(folder: Path) -> Iterator[Server]:
    """Run an S3 server on `folder`."""
    port = free_port()
    objects, metadata = folder / "objects", folder / "metadata"
    for each in (objects, metadata):
        each.mkdir(parents=True)
    command: list[str | Path] = [
        *(tool("versitygw"), "--port", f"127.0.0.1:{port}", "--health", "/healthz"),
        *("posix", "--sidecar", metadata, objects),
    ]
    keys = {"ROOT_ACCESS_KEY": S3_KEY, "ROOT_SECRET_KEY": S3_SECRET}
    with _running(Server(command, port, environment=keys)) as server:
        yield server


@contextmanager
def live_origin_server(folder: Path) -> Iterator[Server]:
    """Run a live origin that keeps its channels in `folder`."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "compose.standins.live_origin"]
    environment = {"PORT": str(port), "DATA_DIR": str(folder), "LIVE_KEY": LIVE_KEY}
    with _running(Server(command, port, environment=environment)) as server:
        yield server


@dataclass(frozen=True)
class PostgresCluster:
    """A PostgreSQL data folder with user, password and database `socialflow`."""

    folder: Path
    uid: int | None

    @staticmethod
    @contextmanager
    def made() -> Iterator[PostgresCluster]:
        """Make one and remove it at the end. PostgreSQL refuses root, so root makes it for `nobody`."""
        uid = unprivileged_uid()
        folder = Path(tempfile.mkdtemp(prefix="socialflow-tests-"))
        try:
            password = folder / "password"
            password.write_text("socialflow")
            if uid is not None:
                for path in (folder, password):
                    os.chown(path, uid, uid)
            cluster = PostgresCluster(folder, uid)
            cluster._initialise(password)
            yield cluster
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Run a server on the folder."""
        port = free_port()
        command: list[str | Path] = [
            *(reachable_program(tool("postgres")), "-D", self.folder / "data", "-p", str(port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
            *("-c", "dynamic_shared_memory_type=mmap", "-c", "fsync=off"),
        ]
        with _running(Server(command, port, uid=self.uid, answers=_greets_postgres)) as server:
            yield server

    def _initialise(self, password: Path) -> None:
        data = self.folder / "data"
        self._run(
            *("initdb", "-D", data, "-U", "socialflow", f"--pwfile={password}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        )
        self._run(
            "postgres", "--single", "-D", data, "postgres", text="CREATE DATABASE socialflow;"
        )

    def _run(self, program: str, *arguments: str | Path, text: str = "") -> None:
        ids = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": ()}
        subprocess.run(
            [str(reachable_program(tool(program))), *map(str, arguments)],
            input=text.encode(),
            check=True,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            **ids,  # type: ignore[call-overload]
        )


def _exchange(port: int, question: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as client:
            client.sendall(question)
            return client.recv(64) if question else b"connected"
    except OSError:
        return b""


def _accepts(port: int) -> bool:
    return _exchange(port, b"") != b""


def _says_pong(port: int) -> bool:
    return _exchange(port, b"PING\r\n").startswith(b"+PONG")


def _greets_postgres(port: int) -> bool:
    """Ask to log in: while starting up the answer is an error (E), then a request for the password (R)."""
    fields = b"user\0socialflow\0database\0socialflow\0\0"
    startup = (len(fields) + 8).to_bytes(4, "big") + (196608).to_bytes(4, "big") + fields
    return _exchange(port, startup).startswith(b"R")
