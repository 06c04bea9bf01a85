"""Prepared data that is kept for the next stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.runtime.templates import refill, restore, store, template_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def prepared(tmp_path: Path) -> dict[str, Path]:
    """Return the data folders of a component after its prepare commands."""
    for name in ("objects", "meta"):
        (tmp_path / "first" / name / "inner").mkdir(parents=True)
        (tmp_path / "first" / name / "inner/file").write_text(name)
    return {f"/srv/{name}": tmp_path / "first" / name for name in ("objects", "meta")}


def fresh(folder: Path) -> dict[str, Path]:
    """Return empty data folders for the same volumes."""
    for name in ("objects", "meta"):
        (folder / name).mkdir(parents=True)
    return {f"/srv/{name}": folder / name for name in ("objects", "meta")}


@pytest.mark.parametrize("source", ["template", "spare"])
def test_every_stack_gets_its_own_copy(
    tmp_path: Path, prepared: dict[str, Path], source: str
) -> None:
    """Each volume comes back with its own content, from a spare or not, and writing there changes no other."""
    template = tmp_path / "templates/key"
    assert not restore(template, fresh(tmp_path / "none"), uid=None)
    store(template, prepared)
    for number in range(3):
        if source == "spare":
            refill(template)
        data = fresh(tmp_path / f"stack{number}")
        assert restore(template, data, uid=None)
        for path, folder in data.items():
            assert (folder / "inner/file").read_text() == path.removeprefix("/srv/")
            (folder / "inner/file").write_text("changed")
    left = {entry.name for entry in template.parent.iterdir()}
    assert left == {"key"}


def test_the_key_changes_with_all_that_the_outcome_depends_on(tmp_path: Path) -> None:
    """Another command, another variable or another version of a tool makes another template."""
    tool = tmp_path / "initdb"
    tool.write_text("1")
    commands = (("initdb", "-D"),)
    keys = {
        template_key(commands, {"A": "1"}, [tool]),
        template_key((("initdb",),), {"A": "1"}, [tool]),
        template_key(commands, {"A": "2"}, [tool]),
    }
    tool.write_text("12")
    keys.add(template_key(commands, {"A": "1"}, [tool]))
    assert len(keys) == 4
