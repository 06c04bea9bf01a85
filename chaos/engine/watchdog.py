"""Heals when the runner no longer can: a small process of its own that waits for the runner's end.

It holds the reading end of a pipe. The line `done` ends it in peace; the end of the pipe without it means that the
runner died. Then a private stack is ended whole, and on a shared one every fault of the journal is undone.
Meanwhile it keeps the leases: a fault that outlives its planned end while the runner hangs is undone too.
Synchronous and on the standard library, so that it stands before the first fault.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import select
import signal
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.engine.journal import JOURNAL_FILE, append, open_injections
from chaos.errors import ChaosError, HarnessError
from chaos.runtime import proctree
from chaos.runtime.record import kill_recorded, read_record
from chaos.toxiproxy.client import Toxiproxy, ToxiproxyError
from chaos.toxiproxy.undo import restore

if TYPE_CHECKING:
    from chaos.engine.journal import Line

LOOK_EVERY_S = 0.25
AGAIN_AFTER_S = 1.0
UNDO_WITHIN_S = 4.0
CONTROL_WITHIN_S = 5.0
PIPE = 0
"""The runner's end of the pipe is this process's standard input."""


@dataclass(slots=True)
class Watch:
    """What the watchdog knows. `stack` is the stack's record, `control` the living stack's control file.

    A private stack belongs to the runner and ends with it; a shared one lives on and must be clean again.
    """

    run_folder: Path
    stack: Path
    private: bool
    control: Path | None = None
    others: list[proctree.Process] = field(default_factory=list)
    _next_try: dict[str, float] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        """The fault journal of the run."""
        return self.run_folder / JOURNAL_FILE

    def follow(self, pipe: int = PIPE) -> bool:
        """Wait for the runner's end, keeping leases; return whether it ended in peace."""
        pending = b""
        while True:
            readable, _, _ = select.select([pipe], [], [], LOOK_EVERY_S)
            if readable:
                data = os.read(pipe, 4096)
                if not data:
                    return False
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    if line == b"done":
                        return True
                    self._hear(line)
            self._keep_leases()

    def after_death(self) -> bool:
        """Undo everything that the dead runner left; return whether nothing is left of it."""
        for process in self.others:
            _kill_group(process)
        if self.private:
            return self._end_stack()
        until = time.monotonic() + UNDO_WITHIN_S
        while left := open_injections(self.journal):
            for line in left:
                self._undo(line, "the runner died")
            if not open_injections(self.journal):
                break
            if time.monotonic() > until:
                return False
            time.sleep(AGAIN_AFTER_S)
        return True

    def _hear(self, line: bytes) -> None:
        """Remember a process to end with the runner. Its start time tells it from a later one of the same pid."""
        word, _, number = line.partition(b" ")
        if word == b"pid" and number.isdigit():
            process = proctree.identify(int(number))
            if process is not None:
                self.others.append(process)

    def _end_stack(self) -> bool:
        try:
            residue = kill_recorded(self.stack)
        except (ChaosError, OSError) as error:
            problem = f"the stack of the dead runner could not be ended: {error}"
        else:
            left = (*residue.processes, *(f"port {port}" for port in residue.ports))
            problem = f"still there of the dead runner's stack: {', '.join(left)}" if left else ""
        for line in open_injections(self.journal):
            if problem:
                self._note(line, "problem", problem=problem)
            else:
                self._note(
                    line, "healed", by="watchdog", why="the runner died: its stack was ended"
                )
        if problem:
            _say(problem)
        return not problem

    def _keep_leases(self) -> None:
        now = time.time()
        for line in open_injections(self.journal):
            due = max(float(line["lease_until_wall"]), self._next_try.get(line["id"], 0.0))
            if now > due:
                self._next_try[line["id"]] = now + AGAIN_AFTER_S
                self._undo(line, "its lease ran out")

    def _undo(self, line: Line, why: str) -> None:
        """Undo one fault and write down how that went. Whatever goes wrong with one, the next gets its turn."""
        try:
            undo = line["undo"]
            if not self.stack.exists():
                why = f"{why}; its stack is gone"
            elif undo["family"] == "network":
                self._undo_network(undo)
            elif undo["kind"] == "pause":
                proctree.thaw(self._family(undo["component"]))
            else:
                self._restart(undo["component"])
        except (ChaosError, OSError, ValueError, LookupError, http.client.HTTPException) as error:
            problem = f"{why}, and the watchdog could not undo it: {error}"
            _say(problem)
            self._note(line, "problem", problem=problem)
        else:
            self._note(line, "healed", by="watchdog", why=why)

    def _undo_network(self, undo: Line) -> None:
        api = Toxiproxy(undo["host"], int(undo["port"]))
        try:
            restore(api, undo["proxy"], undo["toxics"])
        except ToxiproxyError:
            self._restart(undo["component"])

    def _family(self, component: str) -> proctree.Family:
        record = read_record(self.stack)
        part = record["components"][component]
        return proctree.Family(
            leaders=tuple(
                proctree.Process(pid=pid, start=start) for pid, start in part["processes"]
            ),
            marker=f"{record['id']}/{component}\0",
            folders=(part["data"],),
            programs=(part["program"],) if part["program"] else (),
        )

    def _restart(self, component: str) -> None:
        """Let the living stack start a component again: only the process that owns it can."""
        if self.control is None:
            raise HarnessError(
                f"{component} must be started again, and only the hanging runner can; end that process"
            )
        control = json.loads(self.control.read_text())
        where = urllib.parse.urlsplit(control["url"])
        api = http.client.HTTPConnection(
            where.hostname or "127.0.0.1", where.port, timeout=CONTROL_WITHIN_S
        )
        headers = {
            "Authorization": f"Bearer {control['token']}",
            "Content-Type": "application/json",
        }
        with contextlib.closing(api):
            api.request("POST", "/restart", json.dumps({"component": component}), headers)
            response = api.getresponse()
            text = response.read().decode(errors="replace")
        if response.status != http.client.OK:
            raise HarnessError(f"restart of {component}: {response.status} {text[:200]}")

    def _note(self, line: Line, event: str, **more: str) -> None:
        # The run's clock is known only by its reading in the `asked` line; both clocks run at the same pace.
        now = time.time()
        t_s = round(line["t_s"] + now - line["wall"], 4)
        try:
            append(
                self.journal, {"id": line["id"], "event": event, "t_s": t_s, "wall": now, **more}
            )
        except OSError as error:
            _say(f"{self.journal} cannot be written: {error}")


def _kill_group(process: proctree.Process) -> None:
    now = proctree.identify(process.pid)
    if now is None or now.start != process.start:
        return
    try:
        if now.group == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        _say(f"process {process.pid} is not ours to end")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Watch until the runner ends: 0 in peace, 1 when it died and all is undone, 4 when something is left."""
    parser = argparse.ArgumentParser(prog="python -m chaos.engine.watchdog", description=__doc__)
    parser.add_argument("--run-folder", type=Path, required=True, help="where injections.jsonl is")
    parser.add_argument("--stack", type=Path, required=True, help="the stack's stack.json")
    parser.add_argument("--control", type=Path, help="the living stack's control file")
    parser.add_argument(
        "--private", action="store_true", help="end the whole stack with the runner"
    )
    options = parser.parse_args(arguments)
    # A signal to the terminal's whole group is the runner's to answer; its end is seen by the pipe.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch = Watch(options.run_folder, options.stack, options.private, options.control)
    if watch.follow():
        return 0
    return 1 if watch.after_death() else HarnessError.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
