"""Running one component as another user when the runner is root, because PostgreSQL refuses root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from chaos.errors import UsageError

NOBODY: Final = 65_534
# Not /tmp: a database may outgrow a memory-backed folder.
SHARED_FOLDER: Final = Path("/var/tmp")  # noqa: S108 - every name below is checked for its owner


def unprivileged_uid() -> int | None:
    """Return the uid to change to, or None when this process is not root and needs no change."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwuid(NOBODY)
    except KeyError:
        # initdb asks who it is and fails without an answer.
        raise UsageError(
            f"this is root and no user has uid {NOBODY} (nobody); run as an ordinary user instead"
        ) from None
    return NOBODY


def can_enter(path: Path) -> bool:
    """Whether everybody may pass through all folders above `path`, and enter or run `path` itself."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def reachable_program(program: Path) -> Path:
    """Return `program`, or its copy when another user cannot reach it.

    The whole installation is copied once: the folder above `bin`, and beside it the wheel's own libraries,
    which the program finds by a relative path.
    """
    program = program.resolve()
    if can_enter(program):
        return program
    prefix = program.parent.parent
    package = prefix.parent
    stamp = f"{package.name}-{prefix.name}-{program.stat().st_size}-{program.stat().st_mtime_ns}"
    home = SHARED_FOLDER / f"chaosbed-tools-{stamp}"
    if not home.exists():
        scratch = Path(tempfile.mkdtemp(prefix="chaosbed-tools-", dir=SHARED_FOLDER))
        shutil.copytree(prefix, scratch / package.name / prefix.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        for folder in (scratch, scratch / package.name):
            folder.chmod(0o755)
        _move_into_place(scratch, home)
    if home.stat().st_uid != os.geteuid():
        raise UsageError(f"{home} belongs to another user; remove it")
    return home / package.name / prefix.name / program.parent.name / program.name


def _move_into_place(scratch: Path, home: Path) -> None:
    try:
        scratch.rename(home)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not home.exists():
            raise
