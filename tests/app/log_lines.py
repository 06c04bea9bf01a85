"""Reads what the backend wrote as its log, and holds every line against the format's specification."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from tests.app.system import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = json.loads((ROOT / "compose/logs/log-line.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def checked_lines(text: str) -> list[dict[str, Any]]:
    """Return the lines; fail, with the line and what is wrong with it, when one is not of the format."""
    lines = []
    for written in text.splitlines():
        try:
            line: dict[str, Any] = json.loads(written)
        except ValueError:
            raise AssertionError(f"no JSON: {written}") from None
        wrong = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(line)]
        assert not wrong, f"{wrong} in {written}"
        lines.append(line)
    return lines


def found_in(text: str, secrets: Iterable[str]) -> list[str]:
    """Return those of the secrets that stand in `text`; digits of a code must stand alone, not inside an id."""
    return [
        secret
        for secret in secrets
        if re.search(rf"(?<![0-9a-fA-F]){re.escape(secret)}(?![0-9a-fA-F])", text, re.IGNORECASE)
    ]
