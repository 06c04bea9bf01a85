"""Heals when the runner no longer can: a small process of its own that waits for the runner's end.

It holds the reading end of a pipe. "done" ends it in peace; the end of the pipe without it means that the runner
died. Then a private stack is ended whole, and on a shared one every fault of the journal is undone. It also keeps
the leases: a fault that outlives its planned end while the runner hangs is healed.
Synchronous and on the standard library, so that it is there before the first fault.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from chaos.engine.journal import append, open_injections
from chaos.errors import ChaosError
from chaos.runtime import proctree
from chaos.runtime.record import FILE_NAME, kill_recorded, read_record
from chaos.toxiproxy.client import Toxiproxy, ToxiproxyError

LOOK_EVERY_S = 0.25
CONTROL_WITHIN_S = 5.0


class Watch:
    """What the watchdog knows: the journal, the stack, and further processes to end."""

    def __init__(self, journal: Path, stack: Path, control: Path | None, *, private: bool) -> None:
        """Watch over `journal` for the stack in folder `stack`."""
        self.journal, self.stack, self.control, self.private = journal, stack, control, private
        self.groups: list[int] = []

    def follow(self) -> bool:
        """Wait for the runner's end, keeping leases; return whether it ended in peace."""
        pending = b""
        while True:
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], LOOK_EVERY_S)
            if readable:
                data = os.read(sys.stdin.fileno(), 4096)
                if not data:
                    return False
                pending += data
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    if line == b"done":
                        return True
                    if line.startswith(b"pid "):
                        self.groups.append(int(line[4:]))
            self._keep_leases()

    def after_death(self) -> None:
        """Undo everything that the dead runner left."""
        for group in self.groups:
            _kill_group(group)
        if self.private:
            residue = kill_recorded(self.stack / FILE_NAME)
            how = "the stack was ended" if residue.clean else f"left over: {residue}"
            for line in open_injections(self.journal):
                self._note(line, "healed" if residue.clean else "problem", how)
            return
        for line in open_injections(self.journal):
            self._undo(line, "the runner died")

    def _keep_leases(self) -> None:
        for line in open_injections(self.journal):
            if time.time() > float(line["lease_until_wall"]):
                self._undo(line, "its lease ran out")

    def _undo(self, line: dict[str, Any], why: str) -> None:
        undo = line["undo"]
        try:
            if undo["family"] == "network":
                self._undo_network(undo)
            elif undo["kind"] == "pause":
                proctree.thaw(self._family(undo["component"]))
            else:
                self._restart(undo["component"])
        except (ChaosError, OSError, ValueError) as error:
            self._note(line, "problem", f"the watchdog could not heal after {why}: {error}")
        else:
            self._note(line, "healed", why)

    def _undo_network(self, undo: dict[str, Any]) -> None:
        api = Toxiproxy(undo["host"], int(undo["port"]))
        try:
            for name in undo["toxics"]:
                api.remove_toxic(undo["proxy"], name)
            api.set_enabled(undo["proxy"], enabled=True)
            clean = api.proxy(undo["proxy"]).clean
        except ToxiproxyError:
            clean = False
        if not clean:
            self._restart(undo["component"])

    def _family(self, component: str) -> proctree.Family:
        part = read_record(self.stack / FILE_NAME)["components"][component]
        leaders = tuple(proctree.Process(pid=pid, start=start) for pid, start in part["processes"])
        programs = (part["program"],) if part["program"] else ()
        return proctree.Family(leaders, f"{self.stack.name}/{component}", (part["data"],), programs)

    def _restart(self, component: str) -> None:
        """Let the living stack start a component again; without one nobody can."""
        if self.control is None:
            raise ChaosError(
                f"{component} must be started again and no living stack is there to do it"
            )
        control = json.loads(self.control.read_text())
        request = urllib.request.Request(  # noqa: S310 (loopback, from a file of ours)
            control["url"] + "/restart",
            data=json.dumps({"component": component}).encode(),
            headers={
                "Authorization": f"Bearer {control['token']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=CONTROL_WITHIN_S) as response:  # noqa: S310
            response.read()

    def _note(self, line: dict[str, Any], event: str, why: str) -> None:
        # The runner's clock starts at its anchor; both ends are on the wall clock too.
        t_s = line["t_s"] + time.time() - line["wall"]
        more = {"problem": why} if event == "problem" else {"by": "watchdog", "why": why}
        append(
            self.journal,
            {"id": line["id"], "event": event, "t_s": round(t_s, 4), "wall": time.time(), **more},
        )


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        sys.stderr.write(f"process group {group} is not ours to end\n")


def main(arguments: list[str]) -> int:
    """Watch until the runner ends; 0 in peace, 1 after a death."""
    parser = argparse.ArgumentParser(prog="python -m chaos.engine.watchdog")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--stack", type=Path, required=True)
    parser.add_argument("--control", type=Path)
    parser.add_argument("--private", action="store_true")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch = Watch(options.journal, options.stack, options.control, private=options.private)
    if watch.follow():
        return 0
    watch.after_death()
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
