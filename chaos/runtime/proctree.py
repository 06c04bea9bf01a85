"""Processes of one component: who belongs to it, and stopping or killing all of them at once.

A process group is not enough: PostgreSQL puts every backend into a session of its own. Three marks together
find them all: descent from the component's first process, its process group, and a marker in the environment;
PostgreSQL's backends overwrite their environment, so the same program at work inside the data folder counts too.
Standard library only and synchronous, because the watchdog uses it after the runner has died.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MARKER: Final = "CHAOSBED_STACK"
GONE_WITHIN_S: Final = 5.0
_LINUX: Final = sys.platform == "linux"
_POLL_S: Final = 0.005
_PS_LIMIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process; `start` tells it from a later one with the same pid."""

    pid: int
    start: str
    parent: int = 0
    group: int = 0
    state: str = "R"

    @property
    def alive(self) -> bool:
        """Whether it still holds anything: a zombie only waits for its parent."""
        return self.state not in {"Z", "X"}

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped it."""
        return self.state in {"T", "t"}


@dataclass(frozen=True, slots=True)
class Family:
    """What makes a process belong to a component, or to a whole stack.

    `leaders` are first processes as recorded, `marker` is the beginning of the marker's value, `folders` are
    data folders and `programs` the real paths of the programs that work inside them.
    """

    leaders: tuple[Process, ...]
    marker: str
    folders: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


def identify(pid: int) -> Process | None:
    """Return the process that has this pid now, or None."""
    return _read_stat(pid) if _LINUX else _snapshot_ps().get(pid)


def members(family: Family) -> list[Process]:
    """Return every living process of the family, parents before children."""
    table = _snapshot_proc() if _LINUX else _snapshot_ps()
    same = {leader.pid for leader in family.leaders if _is_same(leader, table.get(leader.pid))}
    found = {pid: table[pid] for pid in same}
    groups = set(same)
    if not _LINUX:
        # Without the marker only the group leads from a dead leader to its children.
        groups |= {leader.pid for leader in family.leaders if leader.pid not in table}
    for process in table.values():
        if process.group in groups or (_LINUX and _is_marked(process.pid, family)):
            found[process.pid] = process
    _add_descendants(found, table)
    return [process for process in found.values() if process.alive]


def freeze(family: Family, *, within_s: float = GONE_WITHIN_S) -> list[Process]:
    """SIGSTOP the family and return it once every member is stopped, or after `within_s` as it is then.

    A stopped parent cannot fork, so the rounds end.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = members(family)
        awake = [process for process in found if not process.stopped]
        if not awake or time.monotonic() > deadline:
            return found
        for process in awake:
            send(process, signal.SIGSTOP)


def thaw(family: Family) -> None:
    """SIGCONT the family, children first, so that a parent finds them running."""
    for process in reversed(members(family)):
        send(process, signal.SIGCONT)


def exterminate(family: Family, *, within_s: float = GONE_WITHIN_S) -> list[Process]:
    """SIGKILL the whole family and wait for its end; return what is left after `within_s`."""
    for process in freeze(family):
        send(process, signal.SIGKILL)
    deadline = time.monotonic() + within_s
    while left := members(family):
        if time.monotonic() > deadline:
            return left
        for process in left:
            send(process, signal.SIGKILL)
        time.sleep(_POLL_S)
    return []


def send(process: Process, signum: signal.Signals) -> None:
    """Send a signal; that the process has just gone is fine."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signum)


def program_of(pid: int) -> str:
    """Return the real path of a process's program, or an empty string where that cannot be told."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def _is_same(recorded: Process, now: Process | None) -> bool:
    return now is not None and now.start == recorded.start


def _add_descendants(found: dict[int, Process], table: Mapping[int, Process]) -> None:
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    frontier = list(found)
    while frontier:
        for child in children.get(frontier.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                frontier.append(child.pid)


def _snapshot_proc() -> dict[int, Process]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - names only, three times as fast
    return {process.pid: process for pid in pids if (process := _read_stat(pid)) is not None}


def _read_stat(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in brackets may itself hold blanks and brackets, so the fields begin after the last one.
    fields = text[text.rindex(")") + 2 :].split()
    return Process(
        pid=pid, state=fields[0], parent=int(fields[1]), group=int(fields[2]), start=fields[19]
    )


def _is_marked(pid: int, family: Family) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if f"\0{MARKER}={family.marker}".encode() in b"\0" + environment:
            return True
        if not family.folders:
            return False
        folder = str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False
    inside = any(folder == top or folder.startswith(f"{top}/") for top in family.folders)
    return inside and program_of(pid) in family.programs


def _snapshot_ps() -> dict[int, Process]:
    """Read the process table where there is no /proc (macOS)."""
    answer = subprocess.run(
        ["/bin/ps", "-axo", "pid=,ppid=,pgid=,stat=,lstart="],
        capture_output=True,
        text=True,
        timeout=_PS_LIMIT_S,
        check=True,
    )
    table = {}
    for line in answer.stdout.splitlines():
        pid, parent, group, state, start = line.split(None, 4)
        table[int(pid)] = Process(
            pid=int(pid), parent=int(parent), group=int(group), state=state[0], start=start.strip()
        )
    return table


def describe(processes: Iterable[Process]) -> tuple[str, ...]:
    """Return a short text for each process: pid and command line."""
    return tuple(f"{process.pid} {_command_line(process.pid)}".strip() for process in processes)


def _command_line(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
            .strip()
        )
    except OSError:
        return ""
