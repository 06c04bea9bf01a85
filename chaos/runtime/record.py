"""`stack.json`: what a living stack leaves on disk, so that another process can find it and end it.

The watchdog and `chaosbed down` use this when the runner is gone; standard library only, and synchronous.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

from chaos.errors import HarnessError
from chaos.runtime import proctree
from chaos.runtime.base import Residue
from chaos.runtime.ports import busy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

FILE_NAME: Final = "stack.json"
SCHEMA: Final = 1
PORTS_FREE_WITHIN_S: Final = 2.0
KEPT_FOLDERS: Final = 5
_POLL_S: Final = 0.01


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Replace `folder`'s record in one step, readable by its owner only."""
    scratch = folder / f".{FILE_NAME}.new"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(record, stream, indent=1)
    scratch.replace(folder / FILE_NAME)


def read_record(path: Path) -> dict[str, Any]:
    """Return a stack's record. Raises `HarnessError` when it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise HarnessError(
                f"{path} has schema {record['schema']}; expected {SCHEMA}: remove its folder"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"cannot read {path}: {error}; if no stack runs, remove its folder"
        ) from error
    return dict(record)


def runner_is_alive(record: dict[str, Any]) -> bool:
    """Whether the process that brought the stack up still exists."""
    runner = record["runner"]
    now = proctree.identify(runner["pid"])
    return now is not None and now.alive and now.start == runner["start"]


def kill_recorded(stack_json: Path) -> Residue:
    """End every process of a recorded stack, remove its data, and tell what is left.

    The record goes when nothing is left; logs stay. Harmless to repeat, and when the stack is already down.
    """
    if not stack_json.exists():
        return Residue()
    record = read_record(stack_json)
    parts = record["components"].values()
    family = proctree.Family(
        leaders=tuple(
            proctree.Process(pid=pid, start=start)
            for part in parts
            for pid, start in part["processes"]
        ),
        marker=f"{record['id']}/",
        folders=tuple(part["data"] for part in parts),
        programs=tuple(part["program"] for part in parts if part["program"]),
    )
    residue = end_family(family, record["ports"])
    if residue.clean:
        clear_folder(stack_json.parent, [part["data"] for part in parts])
    return residue


def end_family(family: proctree.Family, ports: Sequence[int]) -> Residue:
    """Kill a family and prove that none of its processes and no listener on `ports` is left."""
    left = proctree.exterminate(family)
    deadline = time.monotonic() + PORTS_FREE_WITHIN_S
    while (taken := busy(ports)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return Residue(processes=proctree.describe(left), ports=taken)


def clear_folder(folder: Path, data: Iterable[str]) -> None:
    """Remove a dead stack's record, data and rendered files; its logs stay."""
    for path in (*data, str(folder / "data"), str(folder / "files")):
        shutil.rmtree(path, ignore_errors=True)
    (folder / FILE_NAME).unlink(missing_ok=True)


def sweep(stacks: Path) -> None:
    """End stacks whose runner has died, and keep the logs of the latest few dead ones only."""
    for path in sorted(stacks.glob(f"*/{FILE_NAME}")):
        try:
            abandoned = not runner_is_alive(read_record(path))
        except HarnessError:
            continue  # not ours to judge; `chaosbed down` reports it
        if abandoned:
            kill_recorded(path)
    dead = sorted(path for path in stacks.iterdir() if not (path / FILE_NAME).exists())
    for folder in dead[:-KEPT_FOLDERS]:
        shutil.rmtree(folder, ignore_errors=True)
