"""How much of the machine others used during a run: on a busy laptop every number says more about the neighbours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of /proc/stat that count as work: user, nice, system, irq, softirq, steal."""


@dataclass(frozen=True, slots=True)
class MachineCpu:
    """Processor time in clock ticks since the machine's start: all of it, what was work, what was ours.

    `ours` is by process, so that one that has ended in between is left out on both sides.
    """

    total: int
    busy: int
    ours: dict[int, int]

    @staticmethod
    def read(roots: tuple[int, ...]) -> MachineCpu | None:
        """Read the clocks; `roots` are the processes whose descendants are ours. None where there is no /proc."""
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return None
        ticks = [int(f) for f in fields]
        return MachineCpu(sum(ticks), sum(ticks[i] for i in _BUSY), _family(roots))

    def since(self, before: MachineCpu) -> dict[str, Any]:
        """Return the shares of the whole machine (0..1) that we and others used between two reads."""
        total = max(1, self.total - before.total)
        ours = sum(ticks - before.ours.get(pid, 0) for pid, ticks in self.ours.items())
        busy = self.busy - before.busy
        return {
            "cores": os.cpu_count(),
            "ours_share": round(ours / total, 4),
            "others_share": round(max(0, busy - ours) / total, 4),
        }


def _family(roots: tuple[int, ...]) -> dict[int, int]:
    """Return the processor time of each process that descends from `roots`, theirs included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "stat").read_text(errors="replace")
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        parents[int(entry.name)] = int(fields[1])
        # utime and stime, and those of children that were waited for
        ticks[int(entry.name)] = sum(int(f) for f in fields[11:15])
    return {pid: used for pid, used in ticks.items() if _descends(pid, parents, set(roots))}


def _descends(pid: int, parents: dict[int, int], roots: set[int]) -> bool:
    while pid > 1:
        if pid in roots:
            return True
        pid = parents.get(pid, 0)
    return False
