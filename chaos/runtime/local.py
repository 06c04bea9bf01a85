"""The local runtime: a topology as plain processes on loopback, without Docker and without root."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError
from chaos.runtime import ports as port_blocks
from chaos.runtime import proctree
from chaos.runtime.addresses import AddressBook
from chaos.runtime.part import LocalPart, in_thread
from chaos.runtime.record import (
    SCHEMA,
    clear_folder,
    end_family,
    kill_recorded,
    sweep,
    write_record,
)
from chaos.runtime.render import Renderer
from chaos.runtime.unprivileged import unprivileged_uid
from chaos.setup.locate import tool as locate_tool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from chaos.model.topology import Topology
    from chaos.runtime.base import ComponentState, Residue
    from chaos.runtime.ports import PortBlock

__all__ = ["LocalRuntime", "LocalStack", "kill_recorded"]


class LocalStack:
    """A living topology made of processes of this machine; see `chaos.runtime.base.Stack`."""

    def __init__(self, renderer: Renderer, block: PortBlock, templates: Path) -> None:
        self.topology = renderer.topology
        self.folder = renderer.folder
        self.time_scale = renderer.time_scale
        self._renderer = renderer
        self._block = block
        self._is_down = False
        self._parts = {
            part.name: LocalPart(part, renderer, templates=templates, changed=self._write_record)
            for part in self.topology.components
        }
        self._locks = {name: asyncio.Lock() for name in self._parts}
        self._runner = proctree.identify(os.getpid())
        self._write_record()

    async def start_all(self, progress: Callable[[str], None]) -> None:
        """Start every component as soon as those that it waits for are ready.

        Raises the `HarnessError` of the first one in start order that failed.
        """
        is_ready = {name: asyncio.Event() for name in self._parts}

        async def start(part: LocalPart) -> None:
            for name in part.component.after:
                await is_ready[name].wait()
            await part.start()
            is_ready[part.name].set()
            progress(
                f"{part.name} {'done' if part.component.one_shot else 'ready'} in {part.ready_after_s:.2f} s"
            )

        try:
            async with asyncio.TaskGroup() as group:
                for part in self._parts.values():
                    group.create_task(start(part))
        except ExceptionGroup as failed:
            # The others were only cancelled because of this one.
            raise _first_leaf(failed) from None

    def address(self, component: str, port: int) -> tuple[str, int]:
        """Return (host, port) where the component's container port can be reached."""
        self.topology.component(component)
        return self._renderer.book.address(component, port)

    def log_path(self, component: str) -> Path:
        """Return the file that holds the component's output."""
        return self._part(component).log

    async def state(self, component: str) -> ComponentState:
        """Return what the component's first process is doing now."""
        return self._part(component).state()

    async def kill(self, component: str) -> None:
        """SIGKILL all of the component's processes and wait until they are gone; harmless when none is."""
        async with self._locks[self._part(component).name]:
            await self._part(component).kill()

    async def pause(self, component: str) -> None:
        """SIGSTOP all of the component's processes. Raises `HarnessError` when none runs."""
        async with self._locks[self._part(component).name]:
            await self._part(component).pause()

    async def resume(self, component: str) -> None:
        """SIGCONT all of the component's processes; harmless when none was stopped."""
        async with self._locks[self._part(component).name]:
            await self._part(component).resume()

    async def restart(self, component: str) -> None:
        """Kill what runs of the component, start it, and wait until it is ready."""
        await self.replace(component)

    async def replace(
        self,
        component: str,
        *,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        wipe: bool = False,
        before: Callable[[Mapping[str, Path]], Awaitable[None]] | None = None,
    ) -> None:
        """Start the component again with other files, environment or fresh data.

        Files and environment hold for later starts too. In both, `name:port` is replaced by the address.
        Raises `UsageError` for a file that is not mounted, before anything is killed.
        """
        part = self._part(component)
        async with self._locks[component]:
            if self._is_down:
                raise HarnessError(
                    f"cannot start {component}: the stack is down; bring up a new one"
                )
            part.change(files, environment)
            await part.kill()
            await part.start(wipe=wipe, before=before)

    async def down(self) -> Residue:
        """End everything, remove the data, and prove that no process and no listener is left."""
        if self._is_down:
            return await in_thread(end_family, self._family(), ())
        self._is_down = True
        await asyncio.gather(
            *(part.stop() for part in self._parts.values()), return_exceptions=True
        )
        used = tuple(self._renderer.book.ports.values())
        residue = await in_thread(end_family, self._family(), used)
        for part in self._parts.values():
            part.reap()
        if residue.clean:
            data = [str(part.data_folder) for part in self._parts.values()]
            await in_thread(clear_folder, self.folder, data)
            for part in self._parts.values():
                await in_thread(part.refill)
        else:
            self._write_record()
        self._block.release()
        return residue

    def describe(self) -> dict[str, Any]:
        """Return addresses, processes, ports and folders as JSON-able values: the content of stack.json."""
        return {
            "schema": SCHEMA,
            "id": self.folder.name,
            "runtime": LocalRuntime.name,
            "topology": self.topology.name,
            "digest": self.topology.digest,
            "time_scale": self.time_scale,
            "folder": str(self.folder),
            "runner": {"pid": os.getpid(), "start": self._runner.start if self._runner else ""},
            "ports": sorted(self._renderer.book.ports.values()),
            "components": {name: part.record() for name, part in self._parts.items()},
        }

    def _part(self, component: str) -> LocalPart:
        return self._parts[self.topology.component(component).name]

    def _family(self) -> proctree.Family:
        families = [part.family() for part in self._parts.values()]
        return proctree.Family(
            leaders=tuple(leader for family in families for leader in family.leaders),
            marker=f"{self.folder.name}/",
            folders=tuple(folder for family in families for folder in family.folders),
            programs=tuple(program for family in families for program in family.programs),
        )

    def _write_record(self) -> None:
        write_record(self.folder, self.describe())


class LocalRuntime:
    """Brings topologies up as processes of this machine.

    `root` is the repository and the processes' working folder; `state` holds `stacks/<id>/` and prepared data.
    `port_base` asks for one block of ports instead of the first free one. `render` gets (component, container
    path, text) of every mounted file after addresses are filled in. `tool` finds a program by its name.

    Use it from a thread that outlives the stack: on Linux, children die with the thread that started them.
    """

    name = "local"

    def __init__(
        self,
        *,
        root: Path,
        state: Path,
        port_base: int | None = None,
        render: Callable[[str, str, str], str] | None = None,
        tool: Callable[[str], Path] = locate_tool,
    ) -> None:
        self._root = root.resolve()
        self._state = state.resolve()
        self._port_base = port_base
        self._render = render
        self._tool = tool

    async def up(
        self, topology: Topology, *, time_scale: float, progress: Callable[[str], None]
    ) -> LocalStack:
        """Start every component and return when all are ready.

        `progress` gets one line for each. Raises `UsageError` when the ports or a tool cannot be had, `HarnessError`
        with the log's last lines when a component dies or is late; then nothing of it is left.
        """
        began = time.monotonic()
        stacks = self._state / "stacks"
        stacks.mkdir(parents=True, exist_ok=True)
        await in_thread(sweep, stacks)
        stack = self._new_stack(topology, stacks, time_scale)
        try:
            await stack.start_all(progress)
        except BaseException:
            await stack.down()
            raise
        progress(
            f"{topology.name}: all {len(topology.components)} ready in {time.monotonic() - began:.2f} s"
        )
        return stack

    def _new_stack(self, topology: Topology, stacks: Path, time_scale: float) -> LocalStack:
        uid = unprivileged_uid() if any(part.unprivileged for part in topology.components) else None
        block = port_blocks.claim(self._port_base)
        # To the millisecond: nobody else has the block, but an earlier stack of this second may have had it.
        began = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3]
        folder = stacks / f"{began}-{block.base}"
        try:
            wanted = [(part.name, port) for part in topology.components for port in part.ports]
            book = AddressBook({key: block.port(index) for index, key in enumerate(wanted)})
            folder.mkdir(mode=0o711)
            (folder / "logs").mkdir()
            renderer = Renderer(
                topology=topology,
                root=self._root,
                folder=folder,
                book=book,
                time_scale=time_scale,
                tool=self._tool,
                uid=uid,
                render=self._render,
            )
            for part in topology.components:
                renderer.launch(part, {})  # a missing tool is found before anything starts
            return LocalStack(renderer, block, self._state / "templates")
        except BaseException:
            block.release()
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _first_leaf(failed: BaseExceptionGroup[Exception]) -> Exception:
    leaf: BaseException = failed
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf if isinstance(leaf, Exception) else HarnessError(str(leaf))
