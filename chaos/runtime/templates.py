"""The outcome of a component's `prepare` commands, kept for the next stack.

Making a database cluster takes longer than everything else that PostgreSQL does at start, and always ends in
the same files. The key holds all that they depend on: commands, environment, and the tools' identities.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def template_key(
    commands: tuple[tuple[str, ...], ...], environment: Mapping[str, str], tools: Iterable[Path]
) -> str:
    """Return the name of the template that these commands would make."""
    programs = sorted((str(tool), tool.stat().st_size, tool.stat().st_mtime_ns) for tool in tools)
    content = json.dumps([commands, sorted(environment.items()), programs])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def restore(template: Path, data: Mapping[str, Path], *, uid: int | None) -> bool:
    """Fill the empty data folders from the template; False when there is none."""
    if not template.is_dir():
        return False
    for source, folder in zip(_numbered(template, len(data)), data.values(), strict=True):
        shutil.copytree(source, folder, dirs_exist_ok=True, symlinks=True)
        if uid is not None:
            give_to(uid, folder)
    return True


def store(template: Path, data: Mapping[str, Path]) -> None:
    """Keep the data folders as the template; whoever is first wins."""
    template.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=template.parent))
    try:
        for target, folder in zip(_numbered(scratch, len(data)), data.values(), strict=True):
            shutil.copytree(folder, target, symlinks=True)
        scratch.rename(template)
    except OSError:
        # A template only saves time: one that another stack has just made is as good, a full disk costs speed.
        shutil.rmtree(scratch, ignore_errors=True)


def give_to(uid: int, folder: Path) -> None:
    """Make `uid` the owner of a folder and of all that is in it."""
    os.chown(folder, uid, uid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)


def _numbered(folder: Path, count: int) -> list[Path]:
    return [folder / str(index) for index in range(count)]
