"""The write-ahead journal, also where a writer died in the middle of a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.engine.journal import JOURNAL_FILE, Journal, append, open_injections, read
from chaos.model.evidence import injections_from_journal

if TYPE_CHECKING:
    from pathlib import Path

FAULT = {"kind": "refuse", "target": "redis-cache"}


def asked(name: str, until: float = 10.0) -> dict[str, Any]:
    """Return the fields of an `asked` line."""
    return {"id": name, "event": "asked", "t_s": 1.0, "fault": FAULT, "lease_until_wall": until}


def test_a_line_carries_both_clocks(tmp_path: Path) -> None:
    """Each line has the run's time and the wall's, and reads back as an injection of the evidence."""
    journal = Journal(tmp_path / JOURNAL_FILE, lambda: 2.5)
    assert journal.write("i1", "asked", fault=FAULT, phase="fault") == 2.5
    journal.write("i1", "confirmed")
    lines = read(journal.path)
    assert [(line["event"], line["t_s"]) for line in lines] == [("asked", 2.5), ("confirmed", 2.5)]
    assert all(line["wall"] > 1e9 for line in lines)
    (record,) = injections_from_journal(lines)
    assert (record.asked_s, record.confirmed_s, record.healed_s) == (2.5, 2.5, None)


def test_what_is_open_is_in_the_order_to_heal(tmp_path: Path) -> None:
    """The latest first, without what was healed; a problem closes nothing."""
    path = tmp_path / JOURNAL_FILE
    for name in ("i1", "i2", "i3"):
        append(path, asked(name))
    append(path, {"id": "i2", "event": "healed"})
    append(path, {"id": "i3", "event": "problem", "problem": "no way"})
    assert [line["id"] for line in open_injections(path)] == ["i3", "i1"]


def test_a_heal_under_way_moves_the_lease(tmp_path: Path) -> None:
    """While the runner heals, the watchdog waits for as long as that may take, and never less than the lease."""
    path = tmp_path / JOURNAL_FILE
    append(path, asked("i1", until=10.0))
    append(path, {"id": "i1", "event": "healing", "until_wall": 15.0})
    append(path, {"id": "i1", "event": "healing", "until_wall": 12.0})
    (line,) = open_injections(path)
    assert line["lease_until_wall"] == 15.0


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    """After a crash in the middle of a line, the lines before it and the next writer's are whole."""
    path = tmp_path / JOURNAL_FILE
    append(path, asked("i1"))
    with path.open("ab") as stream:
        stream.write(b'{"id": "i1", "event": "conf')
    assert [line["event"] for line in read(path)] == ["asked"]
    append(path, {"id": "i1", "event": "healed"})
    assert [line["event"] for line in read(path)] == ["asked", "healed"]
    assert open_injections(path) == []


def test_without_a_file_nothing_is_open(tmp_path: Path) -> None:
    """A run that never broke anything needs no journal."""
    assert open_injections(tmp_path / JOURNAL_FILE) == []


def test_lines_that_are_none_of_ours_are_left_out(tmp_path: Path) -> None:
    """Valid JSON of another shape does not stop whoever heals."""
    path = tmp_path / JOURNAL_FILE
    path.write_text('[]\n7\n{"id": "i1"}\n\n')
    append(path, asked("i2"))
    assert [line["id"] for line in open_injections(path)] == ["i2"]
