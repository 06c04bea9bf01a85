"""What those who take something out of the backend share. Python runs them at its start, from PYTHONPATH."""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause, text


def take_out(owner: Any, name: str, instead: Any) -> None:
    """Put `instead` where `owner` has `name`; without such a name, end the process.

    Python goes on after an error of what it runs at its start, and a backend that is whole would be taken for a broken
    one.
    """
    if not hasattr(owner, name):
        raise SystemExit(f"{owner.__name__} has no {name}: nothing was taken out")
    setattr(owner, name, instead)


def without(statement: TextClause, *parts: tuple[str, str]) -> TextClause:
    """Return a statement with each of `parts` (what, by what) replaced; end the process when one is not there."""
    changed = statement.text
    for part, instead in parts:
        if changed.count(part) != 1:
            raise SystemExit(f"{part!r} is not once in the statement: nothing was taken out")
        changed = changed.replace(part, instead)
    return text(changed)
