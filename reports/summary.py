"""Markdown for a pull request or a CI job's page: verdicts first, at most 64 KB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.model.verdict import Verdict
from reports.folder import read_result, write_atomically
from reports.wording import (
    GLYPHS,
    NONE,
    amount,
    by_kind,
    clean,
    moment,
    seconds,
    short,
    telling_labels,
    total_s,
    verdict_sentence,
)
from reports.wording import tally as tally_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model.run import RunResult

MAX_BYTES = 64 * 1024
_CELL = 400
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#!&@])")
_CUT = "\n\n… cut at 64 KB; everything is in `report.html` and `run.json`.\n"


def summary(name: str, result: RunResult) -> str:
    """Return the Markdown of one run; `name` is its folder's name."""
    return _bounded(_run(name, result))


def write_suite_summary(folders: Sequence[Path], path: Path) -> None:
    """Write one Markdown file over several run folders: a table of verdicts, then each run.

    A folder without a readable `run.json` is listed as ERROR with the reason.
    """
    table = ["| verdict | scenario | what decided it | time |", "|---|---|---|---|"]
    parts = []
    passed = 0
    for folder in folders:
        try:
            result = read_result(folder)
        except UsageError as error:
            table.append(
                f"| {_verdict(Verdict.ERROR)} | {_cell(folder.name)} | {_cell(error)} | {NONE} |"
            )
            continue
        passed += result.verdict is Verdict.PASS
        why = verdict_sentence(result) or tally_of(result)
        took = seconds(total_s(result))
        table.append(
            f"| {_verdict(result.verdict)} | {_cell(result.scenario)} | {_cell(why)} | {took} |"
        )
        parts.append(_run(folder.name, result))
    head = f"## Chaos gate: {passed} of {len(folders)} scenarios passed\n\n" + "\n".join(table)
    write_atomically(path, _bounded("\n\n".join([head, *parts])))


def _run(name: str, result: RunResult) -> str:
    lines = [
        f"### {_verdict(result.verdict)} {_cell(result.scenario)}",
        "",
        f"> {_cell(result.claim)}",
        "",
        f"**{_cell(tally_of(result))}** {_cell(verdict_sentence(result), 2 * _CELL)}",
        "",
    ]
    if result.findings:
        lines += [
            "| verdict | finding | phase | measured | limit |",
            "|---|---|---|--:|--:|",
        ]
    for _, findings in by_kind(result.findings):
        for f in findings:
            what = f"{_cell(f.kind)}: {_cell(f.name)}"
            if f.verdict is not Verdict.PASS:
                what += f"<br>{_cell(f.sentence)}"
            measured, limit = amount(f.measured, f.unit), amount(f.limit, f.unit)
            lines.append(
                f"| {_verdict(f.verdict)} | {what} | {_cell(f.phase)} "
                f"| {_cell(measured)} | {_cell(limit)} |"
            )
    lines += ["", *_alerts(result)]
    lines.append(
        f"{_cell(name)}: started {_cell(moment(result.started_at))}, "
        f"{_cell(result.runtime)} runtime, S = {result.time_scale:g}, seed {result.seed}, "
        f"{seconds(total_s(result))} in all; "
        f"arrivals: {_cell(', '.join(f'{v:,} {k}' for k, v in result.arrivals.items()) or 'none')}."
    )
    return "\n".join(lines) + "\n"


def _alerts(result: RunResult) -> list[str]:
    rows = [
        a
        for a in result.alerts
        if a.expected == "fires" or (a.expected == "silent" and a.fired_s is not None)
    ]
    if not rows:
        return []
    lines = [
        "| alert | expected | fired | detected in | delivered | resolved |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for a in rows:
        times = (a.fired_s, a.detect_s, a.delivered_s, a.resolved_s)
        cells = " | ".join(seconds(t) for t in times)
        lines.append(
            f"| {_cell(a.name + telling_labels(a.labels))} | {_cell(a.expected)} | {cells} |"
        )
    return [*lines, ""]


def _verdict(verdict: Verdict) -> str:
    return f"{GLYPHS[verdict.value]} **{verdict.value}**"


def _cell(value: object, limit: int = _CELL) -> str:
    """Put text on one line with its Markdown, HTML and mentions taken literally."""
    one_line = " ".join(clean(value).split())
    return _SPECIAL.sub(
        lambda m: {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}.get(m[1], f"\\{m[1]}"),
        short(one_line, limit),
    )


def _bounded(markdown: str) -> str:
    data = markdown.encode()
    if len(data) <= MAX_BYTES:
        return markdown
    kept = data[: MAX_BYTES - len(_CUT.encode())].decode(errors="ignore")
    return kept.rsplit("\n", 1)[0] + _CUT
