"""A living stack: one process that holds it, and a small control API (loopback, token in a 0600 file)."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import secrets
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chaos.engine.fault_text import parse_fault
from chaos.engine.faults import FaultSession
from chaos.engine.journal import Journal
from chaos.engine.living import CONTROL_FILE, state_folder
from chaos.engine.monitor import NOWHERE
from chaos.engine.session import OwnSession, read_topology, runtime_for
from chaos.engine.watchdog_link import Watchdog
from chaos.errors import ChaosError, HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chaos.model.topology import Topology
    from chaos.runtime.base import Stack

Body = dict[str, Any]
HAND_RATE_RPS = 100.0
"""What the history of a stack without a run pretends to have had."""


@dataclass(slots=True)
class ControlApi:
    """The handlers over one living stack. Faults injected here always have an end."""

    session: OwnSession
    topology: Topology
    faults: FaultSession
    token: str
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)
    down: Body = field(default_factory=dict)
    _ends: asyncio.Task[None] | None = None

    @property
    def stack(self) -> Stack:
        """Return the living stack."""
        return self.session.stack

    def app(self) -> web.Application:
        """Return the web application; every route wants the token."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/status", self._handler(self._status))
        for name in ("kill", "pause", "resume", "restart"):
            app.router.add_post(f"/{name}", self._handler(self._act(name)))
        for path, handle in (
            ("/state", self._state),
            ("/replace", self._replace),
            ("/monitoring", self._monitoring),
            ("/inject", self._inject),
            ("/heal", self._heal),
            ("/down", self._down),
        ):
            app.router.add_post(path, self._handler(handle))
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            return web.json_response({"error": "wrong or missing token"}, status=401)
        try:
            return await handler(request)
        except UsageError as error:
            return web.json_response({"error": str(error)}, status=400)
        except (ChaosError, KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=500)

    def _handler(
        self, act: Callable[[Body], Awaitable[Body]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.json() if request.can_read_body else {}
            return web.json_response(await act(body))

        return handle

    def _act(self, name: str) -> Callable[[Body], Awaitable[Body]]:
        async def act(body: Body) -> Body:
            async with self.acting:
                await getattr(self.stack, name)(str(body["component"]))
            return {}

        return act

    async def _status(self, _body: Body) -> Body:
        states = [asdict(await self.stack.state(c.name)) for c in self.topology.components]
        return {
            "folder": str(self.stack.folder),
            "time_scale": self.stack.time_scale,
            "topology_digest": self.topology.digest,
            "addresses": {
                c.name: {str(p): self.stack.address(c.name, p)[1] for p in c.ports}
                for c in self.topology.components
            },
            "components": states,
            "faults": list(self.faults.in_force()),
            "residue": await self.faults.residue(),
        }

    async def _state(self, body: Body) -> Body:
        return asdict(await self.stack.state(str(body["component"])))

    async def _replace(self, body: Body) -> Body:
        async with self.acting:
            await self.stack.replace(
                str(body["component"]),
                files=body.get("files"),
                environment=body.get("environment"),
                wipe=bool(body.get("wipe")),
            )
        return {}

    async def _monitoring(self, body: Body) -> Body:
        async with self.acting:
            await self.session.reset_monitoring(str(body["sink"]), float(body["rate_rps"]))
        return {}

    async def _inject(self, body: Body) -> Body:
        fault, for_s = parse_fault(str(body["fault"]), self.topology)
        async with self.acting:
            until_s = self.faults.now_s() + for_s
            problem = await self.faults.apply(fault, "by-hand", until_s)
        if problem:
            raise HarnessError(problem)
        if self._ends is None or self._ends.done():
            self._ends = asyncio.create_task(self._end_faults())
        return {"fault": fault.sentence, "for_s": for_s}

    async def _end_faults(self) -> None:
        """Heal each fault at its planned end."""
        while self.faults.in_force():
            await asyncio.sleep(0.2)
            async with self.acting:
                await self.faults.heal_due(self.faults.now_s())

    async def _heal(self, _body: Body) -> Body:
        async with self.acting:
            await self.faults.heal_all()
        return {"residue": await self.faults.residue()}

    async def _down(self, _body: Body) -> Body:
        async with self.acting:
            with contextlib.suppress(ChaosError):
                await self.faults.heal_all()
            residue = await self.stack.down()
        self.down = {"processes": list(residue.processes), "ports": list(residue.ports)}
        self.stopping.set()
        return self.down


async def serve(root: Path, time_scale: float, port_base: int | None) -> None:
    """Bring a stack up, write the control file, and hold the stack until `down` or a signal."""
    state = state_folder(root)
    topology = read_topology(root)
    loop = asyncio.get_running_loop()
    runtime = runtime_for("local", root, time_scale, port_base)
    stack = await runtime.up(topology, time_scale=time_scale, progress=_say)
    session = OwnSession(stack, root)
    began = time.monotonic()

    def now_s() -> float:
        return time.monotonic() - began

    faults = FaultSession(stack, Journal(stack.folder / "injections.jsonl", now_s), now_s)
    api = ControlApi(session, topology, faults, secrets.token_urlsafe(24))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, api.stopping.set)
    runner = web.AppRunner(api.app(), access_log=None)
    control = state / CONTROL_FILE
    # The watchdog stays until the stack is down: until then there is something to undo.
    async with Watchdog(root, stack.folder, session):
        try:
            await session.reset_monitoring(NOWHERE, rate_rps=HAND_RATE_RPS)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            _write_private(control, {"url": url, "token": api.token, "pid": os.getpid()})
            _say("ready")
            await api.stopping.wait()
            await asyncio.sleep(0.1)  # the answer to /down leaves before the socket closes
        finally:
            control.unlink(missing_ok=True)
            await runner.cleanup()
            if not api.down:
                with contextlib.suppress(ChaosError):
                    await faults.heal_all()
                await session.close()


def _write_private(path: Path, data: Body) -> None:
    part = path.with_suffix(".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump(data, out)
    part.replace(path)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Hold a living stack: `python -m chaos.engine.control ROOT TIME_SCALE [PORT_BASE]`."""
    root, scale, *rest = arguments
    try:
        asyncio.run(serve(Path(root), float(scale), int(rest[0]) if rest else None))
    except ChaosError as error:
        _say(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
