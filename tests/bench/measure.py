"""The measurement: five servers on one seeded system, asked in turns."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.app.servers import free_port
from tests.app.system import System, seeded_system
from tests.bench.client import Order, Result
from tests.bench.figures import Round, Sample
from tests.bench.processes import BenchError, Client, fetch, server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARGUMENTS = {
    "instrumented": ("app",),
    "bare": ("tests.bench.stacks", "bare"),
    "usual": ("tests.bench.stacks", "usual"),
    "collected": ("tests.bench.stacks", "collected"),
    "sparing": ("tests.bench.stacks", "sparing"),
}
CONNECTIONS = 12
HEADROOM_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure which route."""

    title: str
    path: str
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """One route's rounds, and how fast the client is when the server does nothing."""

    title: str
    rounds: list[Round]
    client_per_second: float


class Bench:
    """The servers and the client, all running."""

    def __init__(self, client: Client, servers: dict[str, tuple[int, int]], folder: Path) -> None:
        """Ask `servers`, by name port and pid."""
        self._client = client
        self._servers = servers
        self._folder = folder

    def route(self, plan: Plan, tell: Callable[[str], None]) -> Measurement:
        """Measure one route in turns; the order changes from round to round, so that no place in it is an advantage."""
        length = self._length(plan.path)
        client_per_second = self._headroom(length)
        names = list(self._servers)
        rounds: list[Round] = []
        for number in range(plan.rounds):
            shift = number % len(names)
            samples = {
                name: self._sample(self._servers[name], plan.path, length, plan.seconds)
                for name in names[shift:] + names[:shift]
            }
            rounds.append(Round(**samples))
            tell(f"{plan.title}: round {number + 1} of {plan.rounds}")
        return Measurement(plan.title, rounds, client_per_second)

    def _length(self, path: str) -> int:
        """Warm every server and the cache, and see that all answer the same."""
        bodies = {fetch(port, path) for port, _ in self._servers.values() for _ in range(50)}
        if len(bodies) != 1:
            raise BenchError(f"{path}: the servers answer differently, so they do not do the same")
        return len(bodies.pop())

    def _headroom(self, length: int) -> float:
        """Return the client's own rate, against a server that does nothing."""
        port = free_port()
        arguments = ("tests.bench.floor", str(port), str(length))
        with server("floor", arguments, {}, self._folder, port=port) as (_, pid):
            result = self._drive(port, pid, "/", length, HEADROOM_S)
        return result.requests / result.wall_s

    def _sample(self, where: tuple[int, int], path: str, length: int, seconds: float) -> Sample:
        result = self._drive(*where, path, length, seconds)
        return Sample(result.requests, result.wall_s, result.cpu_s)

    def _drive(self, port: int, pid: int, path: str, length: int, seconds: float) -> Result:
        return self._client.drive(Order(port, pid, path, length, CONNECTIONS, seconds))


def measure(
    plans: Callable[[str], list[Plan]], folder: Path, tell: Callable[[str], None]
) -> list[Measurement]:
    """Bring everything up, measure each plan (`plans` gets the id of a video), and end everything."""
    with ExitStack() as stack:
        system: System = stack.enter_context(seeded_system(folder))
        client = stack.enter_context(Client.running())
        servers = {
            name: stack.enter_context(server(name, arguments, system.environment, folder))
            for name, arguments in ARGUMENTS.items()
        }
        bench = Bench(client, servers, folder)
        port, _ = servers["bare"]
        video = json.loads(fetch(port, "/api/v1/videos?limit=1"))["items"][0]["id"]
        return [bench.route(plan, tell) for plan in plans(video)]
