"""The protocols that the local and the Compose runtime both keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from chaos.model.topology import Topology

Condition = Literal["running", "paused", "exited", "missing"]
Progress = "Callable[[str], None]"


@dataclass(frozen=True, slots=True)
class ComponentState:
    """What a component's process is doing: `pid` is 0 when there is none, `exit_code` None while it runs."""

    name: str
    condition: Condition
    pid: int = 0
    exit_code: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Residue:
    """What `down` found left over; empty means clean."""

    processes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is left."""
        return not self.processes and not self.ports


class Stack(Protocol):
    """A living topology. Every method has a limit in time and raises `HarnessError` when it is over it."""

    topology: Topology
    folder: Path
    time_scale: float

    def address(self, component: str, port: int) -> tuple[str, int]:
        """Return (host, port) where the component's container port can be reached from this machine."""

    def log_path(self, component: str) -> Path:
        """Return the file that holds the component's output, one line a line."""

    async def state(self, component: str) -> ComponentState:
        """Return what the component's process is doing now."""

    async def kill(self, component: str) -> None:
        """Send SIGKILL to all of the component's processes and wait until they are gone."""

    async def pause(self, component: str) -> None:
        """Stop all of the component's processes; their sockets stay open."""

    async def resume(self, component: str) -> None:
        """Let the component's processes run on. Harmless when they were not paused."""

    async def restart(self, component: str) -> None:
        """Start the component (killing what runs) and wait until it is ready."""

    async def replace(
        self,
        component: str,
        *,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        wipe: bool = False,
        before: Callable[[Mapping[str, Path]], Awaitable[None]] | None = None,
    ) -> None:
        """Restart the component with other files (container path -> text), environment or fresh data.

        `before` gets the host folders of its volumes (container path -> folder) after the wipe, before the start.
        """

    async def down(self) -> Residue:
        """End everything and prove that nothing of it is left."""


class Runtime(Protocol):
    """What brings a topology up."""

    name: str

    async def up(
        self, topology: Topology, *, time_scale: float, progress: Callable[[str], None]
    ) -> Stack:
        """Start every component in order, in parallel where it may be, and return when all are ready."""
