"""From a bare machine to an environment that works."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from chaos.setup.pins import ROOT

if TYPE_CHECKING:
    from pathlib import Path

BOOTSTRAP = "chaos/setup/bootstrap.sh"
SYSTEM_PATH = "/usr/bin:/bin"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git holds of this repository, with the changes that are not committed yet."""
    folder = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    for name in filter(lambda n: (ROOT / n).is_file(), listed.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(
    folder: Path, *command: str, path: str, within_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command the way a stranger's shell would: an empty home and nothing else set."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        command,
        cwd=folder,
        env={"HOME": str(home), "PATH": path},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


@pytest.mark.live
def test_an_old_python_is_refused_in_one_line(clone: Path, tmp_path: Path) -> None:
    """The line shows the version that was found and the one that is expected; exit code 2."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("bash", "dirname"):
        (commands / name).symlink_to(shutil.which(name) or name)
    old = commands / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)

    done = run(clone, "bash", BOOTSTRAP, ".venv/.ready", path=str(commands), within_s=20)

    assert done.returncode == 2
    assert done.stderr == (
        "error: found Python 3.9.2 on PATH; expected Python 3.11 or newer, install it and run make again\n"
    )


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_bare_machine_gets_an_environment_once(clone: Path) -> None:
    """With an empty home and the system's commands alone: packages as locked, and nothing to do the next time."""
    first = run(clone, "make", "report", "ARGS=--help", path=SYSTEM_PATH, within_s=300)
    second = run(clone, "make", "report", "ARGS=--help", path=SYSTEM_PATH, within_s=60)
    checked = run(
        clone, ".venv/bin/python", "-m", "chaos.setup", "doctor", path=SYSTEM_PATH, within_s=60
    )

    assert first.returncode == second.returncode == 0, first.stderr
    assert ".venv ready after" in first.stdout
    assert ".venv" not in second.stdout
    assert "as requirements.txt pins them" in checked.stdout


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_moved_folder_mends_itself(clone: Path) -> None:
    """Scripts of a virtual environment name its folder; after a move the next `make` makes it again."""
    run(clone, "make", "report", "ARGS=--help", path=SYSTEM_PATH, within_s=300)
    moved = clone.rename(clone.with_name("moved"))

    done = run(moved, "make", "report", "ARGS=--help", path=SYSTEM_PATH, within_s=300)

    assert done.returncode == 0, done.stderr
    assert os.access(moved / ".venv" / "bin" / "chaosbed", os.X_OK)
