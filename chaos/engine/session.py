"""A stack for one or more runs: one of our own, or the living one that `chaosbed up` started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chaos.engine.living import AttachedStack, read_control, state_folder
from chaos.engine.monitor import reset_monitoring
from chaos.errors import HarnessError, UsageError, unknown
from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime
from chaos.runtime.monitoring import MonitoringRender

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaos.model.topology import Topology
    from chaos.runtime.base import Runtime, Stack

COMPOSE_FILE = "compose/compose.yaml"
RUNTIMES = ("local",)


class Session(Protocol):
    """A living stack and what a run needs besides it."""

    @property
    def stack(self) -> Stack:
        """Return the living stack."""

    @property
    def shared(self) -> bool:
        """Return whether others use the stack too, so that it must stay."""

    @property
    def runtime(self) -> str:
        """Return the name of the runtime that brought it up."""

    @property
    def stack_json(self) -> Path:
        """Return the file by which another process can find and end the stack."""

    @property
    def roots(self) -> tuple[int, ...]:
        """Return the processes from which everything of the run descends, on this machine."""

    async def reset_monitoring(self, sink: str, rate_rps: float) -> None:
        """Give Prometheus and Alertmanager a fresh, healthy past and let the latter deliver to `sink` (host:port)."""

    async def close(self) -> None:
        """End the stack when it is ours; leave a shared one alone. Raises `HarnessError` on leftovers."""


@dataclass(slots=True)
class OwnSession:
    """A stack that lives and dies with this process."""

    stack: Stack
    root: Path
    runtime: str = "local"
    shared: bool = False

    @property
    def stack_json(self) -> Path:
        """Return the stack's own description."""
        return self.stack.folder / "stack.json"

    @property
    def roots(self) -> tuple[int, ...]:
        """Return this process: the stack and the generator are its children."""
        return (os.getpid(),)

    async def reset_monitoring(self, sink: str, rate_rps: float) -> None:
        """Restart the monitoring on a healthy past."""
        await reset_monitoring(self.stack, self.root / "compose", sink, rate_rps)

    async def close(self) -> None:
        """End the stack and prove that nothing is left."""
        residue = await self.stack.down()
        if not residue.clean:
            left = ", ".join([*residue.processes, *(f"port {p}" for p in residue.ports)])
            raise HarnessError(f"the stack did not end clean: {left} left; end them by hand")


@dataclass(slots=True)
class AttachedSession:
    """The living stack of `chaosbed up`, through its control API."""

    stack: AttachedStack
    runtime: str = "local"
    shared: bool = True

    @property
    def stack_json(self) -> Path:
        """Return the living stack's own description."""
        return self.stack.folder / "stack.json"

    @property
    def roots(self) -> tuple[int, ...]:
        """Return this process and the holder of the living stack."""
        return (os.getpid(), self.stack.control.pid)

    async def reset_monitoring(self, sink: str, rate_rps: float) -> None:
        """Ask the living stack to restart its monitoring on a healthy past."""
        await self.stack.reset_monitoring(sink, rate_rps)

    async def close(self) -> None:
        """Leave the stack alive."""
        await self.stack.close()


def runtime_for(name: str, root: Path, time_scale: float, port_base: int | None) -> Runtime:
    """Return the runtime called `name`. Raises `UsageError` with the nearest name."""
    if name not in RUNTIMES:
        raise unknown("runtime", name, RUNTIMES)
    return LocalRuntime(
        root=root,
        state=state_folder(root),
        port_base=port_base,
        render=MonitoringRender(time_scale),
    )


def read_topology(root: Path) -> Topology:
    """Read and validate the topology of this checkout."""
    return load_topology(root / COMPOSE_FILE)


async def open_session(
    root: Path,
    topology: Topology,
    *,
    runtime: str,
    time_scale: float,
    port_base: int | None,
    progress: Callable[[str], None],
) -> Session:
    """Attach to the living stack when there is one, else bring one up.

    Raises `UsageError` when the living stack runs at another time scale or from another topology.
    """
    maker = runtime_for(runtime, root, time_scale, port_base)
    control = read_control(state_folder(root))
    if control is not None:
        stack = await AttachedStack.attach(control, topology)
        if stack is not None:
            if stack.time_scale != time_scale:
                raise UsageError(
                    f"--time-scale {time_scale:g} but the living stack runs at {stack.time_scale:g}; "
                    f"use that, or end it with `chaosbed down`"
                )
            progress(f"using the living stack at {control.url}")
            return AttachedSession(stack)
    return OwnSession(await maker.up(topology, time_scale=time_scale, progress=progress), root)
