"""The living stack by hand: up, down, status, inject, heal, and Locust's web UI on it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from chaos.engine.living import CONTROL_FILE, AttachedStack, read_control, state_folder
from chaos.engine.preflight import check_tools
from chaos.engine.session import read_topology
from chaos.errors import HarnessError, UsageError
from chaos.runtime.local import kill_recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UP_WITHIN_S = 60.0
END_WITHIN_S = 10.0
URLS = (
    ("app", 8000, "/docs", "the backend"),
    ("app", 9000, "/metrics", "its metrics"),
    ("prometheus", 9090, "", "Prometheus (API)"),
    ("alertmanager", 9093, "", "Alertmanager"),
)


def bring_up(root: Path, time_scale: float, port_base: int | None) -> int:
    """Start a process that holds a stack, wait until it is ready and print every URL."""
    state = state_folder(root)
    check_tools(read_topology(root))
    control = read_control(state)
    if control is not None and _alive(control.pid):
        raise UsageError(
            f"a stack is already up at {control.url}; use it, or end it with `chaosbed down`"
        )
    (state / CONTROL_FILE).unlink(missing_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    log = state / "control.log"
    arguments = [sys.executable, "-m", "chaos.engine.control", str(root), str(time_scale)]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 (our own module)
            [*arguments, *([str(port_base)] if port_base else [])],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    began, shown = time.monotonic(), 0
    while read_control(state) is None:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[shown:]:
            _say(f"  {line}")
        shown = len(lines)
        if process.poll() is not None or time.monotonic() - began > UP_WITHIN_S:
            last = lines[-1] if lines else "no output"
            wrong = UsageError if process.returncode == UsageError.exit_code else HarnessError
            raise wrong(f"the stack did not come up: {last.removeprefix('error: ')}; see {log}")
        time.sleep(0.05)
    _say(f"up after {time.monotonic() - began:.1f} s; end it with `chaosbed down`")
    _print_urls(state)
    return 0


async def take_down(root: Path) -> int:
    """End the living stack, also one whose holder has died."""
    state = state_folder(root)
    control = read_control(state)
    if control is not None and _alive(control.pid):
        async with _living(root) as stack:
            residue = await stack.down()
        until = time.monotonic() + END_WITHIN_S
        while _alive(control.pid) and time.monotonic() < until:  # noqa: ASYNC110 (not our child)
            await asyncio.sleep(0.02)
    else:
        (state / CONTROL_FILE).unlink(missing_ok=True)
        found = sorted((state / "stacks").glob("*/stack.json"))
        if not found:
            _say("no stack is up")
            return 0
        residue = [kill_recorded(path) for path in found][-1]
    if not residue.clean:
        raise HarnessError(f"left over: {residue.processes} {residue.ports}; end them by hand")
    _say("down; no process and no port is left")
    return 0


async def show_status(root: Path) -> int:
    """Print components, faults in force and health of the living stack."""
    async with _living(root) as stack:
        status = await stack.ask("GET", "/status")
    _say(f"time scale {status['time_scale']:g}, folder {status['folder']}")
    for part in status["components"]:
        ports = ", ".join(f"{k}->{v}" for k, v in status["addresses"][part["name"]].items())
        _say(f"  {part['name']:<18} {part['condition']:<8} {ports}")
    for fault in status["faults"] or ["none"]:
        _say(f"  fault in force: {fault}")
    return 0


async def inject(root: Path, text: str) -> int:
    """Break something on the living stack, with an end."""
    async with _living(root) as stack:
        done = await stack.ask("POST", "/inject", {"fault": text})
    _say(f"in force: {done['fault']}, for {done['for_s']:g} s; undo it with `chaosbed heal`")
    return 0


async def heal(root: Path) -> int:
    """Undo every fault on the living stack and say what is left."""
    async with _living(root) as stack:
        done = await stack.ask("POST", "/heal", {})
    _say("healed: " + ("; ".join(done["residue"]) or "nothing is left"))
    return 0 if not done["residue"] else HarnessError.exit_code


def open_locust(root: Path, time_scale: float, port_base: int | None, web_port: int) -> int:
    """Serve Locust's web UI on the living stack (one is brought up when there is none) until Ctrl-C."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", web_port)) == 0:
            raise UsageError(
                f"--web-port {web_port} is taken; expected a free port, as --web-port {web_port + 1}"
            )
    state = state_folder(root)
    control = read_control(state)
    if control is None or not _alive(control.pid):
        bring_up(root, time_scale, port_base)
    host = _status_now(state)["addresses"]["app"]["8000"]
    _say(f"Locust: http://127.0.0.1:{web_port}  (Ctrl-C ends it; the stack stays up)")
    environment = {**os.environ, "CHAOSBED_CONTROL": str(state / CONTROL_FILE)}
    command = [
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--class-picker"),
        *(
            "--host",
            f"http://127.0.0.1:{host}",
            "--web-host",
            "127.0.0.1",
            "--web-port",
            str(web_port),
        ),
    ]
    child = subprocess.Popen(command, cwd=root, env=environment)  # noqa: S603 (our own arguments)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()
        child.wait(timeout=10)
        return 0


@asynccontextmanager
async def _living(root: Path) -> AsyncIterator[AttachedStack]:
    control = read_control(state_folder(root))
    stack = None if control is None else await AttachedStack.attach(control, read_topology(root))
    if stack is None:
        raise UsageError("no stack is up; start one with `chaosbed up`")
    try:
        yield stack
    finally:
        await stack.close()


def _print_urls(state: Path) -> None:
    addresses = _status_now(state)["addresses"]
    for component, port, path, what in URLS:
        _say(f"  http://127.0.0.1:{addresses[component][str(port)]}{path}  {what}")


def _status_now(state: Path) -> dict[str, Any]:
    import json  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    control = read_control(state)
    if control is None:
        raise HarnessError("the living stack went away; start one with `chaosbed up`")
    request = urllib.request.Request(  # noqa: S310 (loopback)
        control.url + "/status", headers={"Authorization": f"Bearer {control.token}"}
    )
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 (loopback)
        return dict(json.loads(response.read()))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
