"""A runner that is there to be killed: it brings faults into force under a watchdog and then hangs.

`python -m tests.engine.doomed RUN_FOLDER LEASE_S FAULT_JSON...` attaches to the living stack of `CHAOSBED_STATE`, or
brings up one of its own there. It prints one JSON line when the faults are in force, and never heals them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

from chaos.engine.faults import FaultSession
from chaos.engine.journal import JOURNAL_FILE, Journal
from chaos.engine.living import AttachedStack, read_control, state_folder
from chaos.engine.session import AttachedSession, OwnSession, Session
from chaos.engine.watchdog_link import Watchdog
from chaos.model.faults import fault_from_json
from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime

ROOT = Path(__file__).parents[2]
SYSTEM = Path(__file__).parent / "system"


async def open_session() -> Session:
    """Attach to the living stack, or bring one up."""
    topology = load_topology(SYSTEM / "compose.yaml", environ={})
    state = state_folder(ROOT)
    control = read_control(state)
    if control is None:
        runtime = LocalRuntime(root=ROOT, state=state)
        stack = await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
        return OwnSession(stack, ROOT)
    attached = await AttachedStack.attach(control, topology)
    assert attached is not None
    return AttachedSession(attached)


async def main(folder: Path, lease_s: float, faults: list[str]) -> None:
    """Break things and hang."""
    session = await open_session()
    began = time.monotonic()

    def now_s() -> float:
        return time.monotonic() - began

    breaking = FaultSession(session.stack, Journal(folder / JOURNAL_FILE, now_s), now_s)
    async with Watchdog(ROOT, folder, session) as watchdog:
        load = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)  # noqa: ASYNC220 (forks at once)
        watchdog.register_pid(load.pid)
        for text in faults:
            problem = await breaking.apply(fault_from_json(json.loads(text)), "fault", lease_s)
            assert not problem, problem
        told = {"stack": str(session.stack_json), "load": load.pid}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
