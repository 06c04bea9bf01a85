"""Programs that another user must be able to run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.runtime import unprivileged

if TYPE_CHECKING:
    import pytest


def test_a_program_below_a_closed_folder_is_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy runs, brings the wheel's libraries along at the same relative place, and is used again."""
    home, shared = tmp_path / "home", tmp_path / "shared"
    program = home / "package/pginstall/bin/initdb"
    library = home / "package.libs/libpq.so"
    for path in (program, library):
        path.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/../../../package.libs/libpq.so"\n')
    program.chmod(0o755)
    library.write_text("library")
    home.chmod(0o700)
    shared.mkdir()
    monkeypatch.setattr(unprivileged, "SHARED_FOLDER", shared)
    copy = unprivileged.reachable_program(program)
    assert copy.is_relative_to(shared)
    assert subprocess.check_output([copy], timeout=5) == b"library"
    assert unprivileged.reachable_program(program) == copy
    assert len(list(shared.iterdir())) == 1


def test_a_program_in_open_folders_is_used_where_it_is() -> None:
    """What everybody can reach is not copied."""
    shell = Path("/bin/sh").resolve()
    assert unprivileged.reachable_program(shell) == shell
