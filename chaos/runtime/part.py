"""The life of one component on this machine: prepare, start, kill, pause, resume, start again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from chaos.errors import HarnessError
from chaos.runtime import proctree
from chaos.runtime.base import ComponentState
from chaos.runtime.process import log_tail, spawn
from chaos.runtime.ready import wait_until_ready
from chaos.runtime.templates import give_to, refill, restore, store, template_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from chaos.model.topology import Component
    from chaos.runtime.render import Launch, Renderer

PREPARE_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 2.0
_POLL_S: Final = 0.01
Result = TypeVar("Result")


class LocalPart:
    """One component of a local stack. `templates` keeps prepared data; `changed` runs on every new process."""

    def __init__(
        self,
        component: Component,
        renderer: Renderer,
        *,
        templates: Path,
        changed: Callable[[], None],
    ) -> None:
        self.component = component
        self.ready_after_s = 0.0
        self._renderer = renderer
        self._templates = templates
        self._changed = changed
        self._files: dict[str, str] = {}
        self._environment: dict[str, str] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._leader: proctree.Process | None = None
        self._frozen: tuple[proctree.Process, ...] = ()
        self._program = ""
        self._template: Path | None = None
        self._starts = 0

    @property
    def name(self) -> str:
        """The component's name."""
        return self.component.name

    @property
    def log(self) -> Path:
        """The file that holds the component's output, over all its starts."""
        return self._renderer.log_path(self.name)

    @property
    def data_folder(self) -> Path:
        """The folder that holds the component's volumes."""
        return self._renderer.data_folder(self.component)

    def family(self) -> proctree.Family:
        """Return what its processes are known by."""
        return proctree.Family(
            leaders=(*((self._leader,) if self._leader else ()), *self._frozen),
            marker=f"{self._renderer.folder.name}/{self.name}\0",
            folders=(str(self.data_folder),),
            programs=(self._program,) if self._program else (),
        )

    def change(
        self, files: Mapping[str, str] | None, environment: Mapping[str, str] | None
    ) -> None:
        """Let other files and environment hold from the next start on."""
        self._renderer.write_files(self.component, files or {})
        self._files.update(files or {})
        self._environment.update(environment or {})

    async def start(
        self,
        *,
        wipe: bool = False,
        before: Callable[[Mapping[str, Path]], Awaitable[None]] | None = None,
    ) -> None:
        """Start it and wait until it is ready; a one-shot until it has ended well.

        Raises `HarnessError` with the last lines of its log when it dies or is late.
        """
        began = time.monotonic()
        self._renderer.write_files(self.component, self._files)
        launch = self._renderer.launch(self.component, self._environment)
        if self._renderer.make_data(self.component, wipe=wipe):
            await self._prepare(launch)
        if before is not None:
            await before(launch.data)
            if launch.uid is not None:
                await in_thread(give_to, launch.uid, self.data_folder)
        self._spawn(launch.command, launch)
        self._starts += 1
        self._changed()
        await self._wait_ready()
        self.ready_after_s = time.monotonic() - began

    async def kill(self) -> None:
        """SIGKILL every process of it; harmless when there is none."""
        left = await in_thread(proctree.exterminate, self.family())
        if left:
            what = ", ".join(proctree.describe(left))
            raise HarnessError(
                f"{self.name}: still there {proctree.GONE_WITHIN_S:g} s after SIGKILL: {what}"
            )
        self.reap()
        self._changed()

    def reap(self) -> None:
        """Collect the exit code of a process that was killed."""
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=proctree.GONE_WITHIN_S)
        self._frozen = ()

    async def pause(self) -> None:
        """SIGSTOP every process of it. Raises `HarnessError` when none runs."""
        if not self.is_alive():
            raise HarnessError(
                f"cannot pause {self.name}: it {self._how_it_ended()}; restart it first"
            )
        self._frozen = tuple(await in_thread(proctree.freeze, self.family()))
        if awake := [process for process in self._frozen if not process.stopped]:
            what = ", ".join(proctree.describe(awake))
            raise HarnessError(f"cannot pause {self.name}: it does not stop: {what}")
        self._changed()

    async def resume(self) -> None:
        """SIGCONT every process of it; harmless when none was stopped."""
        await in_thread(proctree.thaw, self.family())
        self._frozen = ()
        self._changed()

    async def stop(self) -> None:
        """Send the stop signal, if it has one, and wait a little; what stays is killed afterwards."""
        if not self.component.stop_signal or self._leader is None or not self.is_alive():
            return
        await self.resume()
        proctree.send(self._leader, signal.Signals[self.component.stop_signal])
        await self._wait_exit(STOP_WITHIN_S)

    def refill(self) -> None:
        """Get its prepared data ready for the next stack."""
        if self._template is not None:
            refill(self._template)

    def is_alive(self) -> bool:
        """Whether its first process still runs (or is stopped)."""
        return self._child is not None and self._child.poll() is None

    def state(self) -> ComponentState:
        """Return what its first process is doing now, as the kernel has it."""
        restarts = max(0, self._starts - 1)
        if self._child is None:
            return ComponentState(self.name, "missing")
        if not self.is_alive():
            return ComponentState(
                self.name, "exited", exit_code=self._child.returncode, restarts=restarts
            )
        now = proctree.identify(self._child.pid)
        paused = now is not None and now.stopped
        return ComponentState(
            self.name, "paused" if paused else "running", pid=self._child.pid, restarts=restarts
        )

    def record(self) -> dict[str, Any]:
        """Return what another process needs to find and end it."""
        state = self.state()
        book = self._renderer.book
        known = [self._leader] if self._leader is not None and self.is_alive() else []
        return {
            "condition": state.condition,
            "pid": state.pid,
            "pgid": state.pid,
            "exit_code": state.exit_code,
            "restarts": state.restarts,
            "processes": [[process.pid, process.start] for process in (*known, *self._frozen)],
            "program": self._program,
            "addresses": {
                str(port): list(book.address(self.name, port)) for port in self.component.ports
            },
            "log": str(self.log),
            "data": str(self.data_folder),
        }

    def _spawn(self, argv: tuple[str, ...], launch: Launch) -> None:
        self._child = spawn(
            self.name,
            argv,
            environment=launch.environment,
            cwd=launch.cwd,
            log=launch.log,
            uid=launch.uid,
        )
        self._leader = proctree.identify(self._child.pid)
        self._program = str(Path(argv[0]).resolve())

    async def _prepare(self, launch: Launch) -> None:
        """Fill fresh data folders: from a template of an earlier run, or by the `prepare` commands."""
        if not launch.prepare:
            return
        commands = self.component.prepare
        # Prepared data that holds a port or a rendered file belongs to one stack alone.
        if not any("{port:" in word or "{file:" in word for line in commands for word in line):
            key = template_key(commands, launch.declared, launch.tools)
            self._template = self._templates / key
            if await in_thread(restore, self._template, launch.data, uid=launch.uid):
                return
        try:
            for argv in launch.prepare:
                await self._run(argv, launch)
        except BaseException:
            # Half-made data would pass for finished data at the next start.
            await self.kill()
            shutil.rmtree(self.data_folder, ignore_errors=True)
            raise
        if self._template is not None:
            await in_thread(store, self._template, launch.data)

    async def _run(self, argv: tuple[str, ...], launch: Launch) -> None:
        self._spawn(argv, launch)
        if not await self._wait_exit(PREPARE_WITHIN_S):
            raise self._failure(f"is late: preparing took over {PREPARE_WITHIN_S:g} s")
        if self._exit_code() != 0:
            raise self._failure(f"cannot be prepared: {argv[0]} {self._how_it_ended()}")

    async def _wait_ready(self) -> None:
        ready = self.component.ready
        if self.component.one_shot:
            if not await self._wait_exit(ready.within_s):
                raise self._failure(f"is late: it has not ended after {ready.within_s:g} s")
            if self._exit_code() != 0:
                raise self._failure(self._how_it_ended())
            self._changed()
            return
        host, port = self._renderer.book.address(self.name, ready.port)
        if await wait_until_ready(ready, host, port, is_alive=self.is_alive):
            return
        if self.is_alive():
            raise self._failure(
                f"is late: no {ready.kind} answer on {host}:{port} after {ready.within_s:g} s"
            )
        raise self._failure(f"{self._how_it_ended()} before it was ready")

    async def _wait_exit(self, within_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                # Polled, so that a stack is not tied to the event loop that started it.
                while self.is_alive():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        return not self.is_alive()

    def _exit_code(self) -> int | None:
        return None if self._child is None else self._child.returncode

    def _how_it_ended(self) -> str:
        code = self._exit_code()
        if code is None:
            return "was never started"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def _failure(self, what: str) -> HarnessError:
        return HarnessError(
            f"{self.name} {what}; the last lines of {self.log}:\n{log_tail(self.log)}"
        )


async def in_thread(work: Callable[..., Result], *args: object, **options: object) -> Result:
    """Run blocking work in a thread; a cancelled caller still waits for its end, since nothing can stop it."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
