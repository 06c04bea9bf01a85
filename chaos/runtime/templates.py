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
    source = _take_spare(template)
    try:
        for part, folder in zip(
            _numbered(source or template, len(data)), data.values(), strict=True
        ):
            if source is None or not _moved(part, folder):
                shutil.copytree(part, folder, dirs_exist_ok=True, symlinks=True)
            if uid is not None:
                give_to(uid, folder)
    finally:
        if source is not None:
            shutil.rmtree(source, ignore_errors=True)
    return True


def store(template: Path, data: Mapping[str, Path]) -> None:
    """Keep the data folders as the template; whoever is first wins."""
    template.parent.mkdir(parents=True, exist_ok=True)
    _copy_all(list(data.values()), template)


def refill(template: Path) -> None:
    """Make a spare copy of the template, so that the next `restore` only has to move it.

    Copying a thousand files takes a second while a dozen processes start, and a tenth of it after they ended.
    """
    if template.is_dir() and not _spare(template).exists():
        _copy_all(sorted(template.iterdir()), _spare(template))


def _copy_all(folders: list[Path], target: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        for copy, folder in zip(_numbered(scratch, len(folders)), folders, strict=True):
            shutil.copytree(folder, copy, symlinks=True)
        scratch.rename(target)
    except OSError:
        # This only saves time: one that another stack has just made is as good, a full disk costs speed.
        shutil.rmtree(scratch, ignore_errors=True)


def _take_spare(template: Path) -> Path | None:
    """Move the spare out of everybody else's sight, if there is one."""
    mine = Path(tempfile.mkdtemp(prefix=".taken-", dir=template.parent))
    try:
        return _spare(template).rename(mine)
    except OSError:
        mine.rmdir()
        return None


def _moved(source: Path, target: Path) -> bool:
    """Move a folder onto an empty one; False when they are on different file systems."""
    try:
        source.rename(target)
    except OSError:
        return False
    return True


def _spare(template: Path) -> Path:
    return template.with_name(f"{template.name}.spare")


def give_to(uid: int, folder: Path) -> None:
    """Make `uid` the owner of a folder and of all that is in it."""
    os.chown(folder, uid, uid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)


def _numbered(folder: Path, count: int) -> list[Path]:
    return [folder / str(index) for index in range(count)]
