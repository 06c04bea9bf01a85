"""Saying what is missing, with the command that mends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chaos.setup import doctor
from chaos.setup.doctor import Check, run_doctor
from chaos.setup.pins import LINKS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live


def test_a_machine_that_is_set_up_is_well() -> None:
    """Every server answers, nothing that is needed is missing, and the exit code is 0."""
    said: list[str] = []

    code = run_doctor(said.append, as_json=False)

    assert code == 0, said
    assert said[-1] == "everything that a run needs is here"


def test_what_is_missing_comes_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine without the built servers: exit code 2, each named, each with `make setup`."""
    monkeypatch.setattr("chaos.setup.locate.LINKS", tmp_path)
    monkeypatch.setattr(doctor, "LINKS", tmp_path)
    said: list[str] = []

    code = run_doctor(said.append, as_json=True)

    checks = [Check(**row) for row in json.loads(said[0])]
    missing = {check.name: check.mend for check in checks if not check.ok and not check.optional}
    assert code == 2
    assert set(missing) >= {"toxiproxy-server", "prometheus", "versitygw"}
    assert all("make setup" in mend for mend in missing.values())


def test_a_link_to_another_version_is_not_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After an upgrade of the pins, yesterday's server is reported and not taken for today's."""
    (tmp_path / "amtool").symlink_to((LINKS / "amtool").resolve())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("chaos.setup.locate.LINKS", tmp_path)
    monkeypatch.setattr(doctor, "LINKS", tmp_path)

    (amtool,) = [check for check in doctor.examine() if check.name == "amtool"]

    assert not amtool.ok
    assert amtool.mend == "make setup"


def test_a_server_that_does_not_run_is_not_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A binary for another machine is there, executable, and found out."""
    broken = tmp_path / "ffmpeg"
    broken.write_bytes(b"\x7fELF not for here")
    broken.chmod(0o755)
    monkeypatch.setenv("CHAOSBED_TOOL_FFMPEG", str(broken))

    (ffmpeg,) = [check for check in doctor.examine() if check.name == "ffmpeg"]

    assert not ffmpeg.ok
    assert "does not run" in ffmpeg.seen


def test_a_package_of_another_version_is_found_out(tmp_path: Path) -> None:
    """The lock is compared with what is installed, so that a stale environment does not run."""
    lock = tmp_path / "requirements.txt"
    lock.write_text("pytest==0.0.1 \\\n    --hash=sha256:00\n")

    check = doctor._packages(lock)

    assert not check.ok
    assert check.seen.endswith("expected 0.0.1")
    assert check.mend == "make -B setup"
