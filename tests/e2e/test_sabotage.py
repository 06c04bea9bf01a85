"""What the long tests take out of the backend is still there to be taken out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

FOLDERS = sorted(Path(__file__).parent.glob("with*_*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_is_taken_out_is_there(folder: Path) -> None:
    """A part that has another name now is told at once, and no long test takes a whole backend for a broken one."""
    done = subprocess.run(
        [sys.executable, "-c", "import sitecustomize; print(sitecustomize.__file__)"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == (str(folder / "sitecustomize.py"), "")


def test_a_part_that_is_not_there_ends_the_process() -> None:
    """Python goes on after an error of what it runs at its start; a part that was not found ends it all the same."""
    program = "from tests.e2e import sabotage; sabotage.take_out(sabotage, 'gone', None)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "has no gone" in done.stderr
