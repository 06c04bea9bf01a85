"""Render one run folder: `report.html`, `junit.xml` and `summary.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import sections
from reports.figures import figures
from reports.folder import write_atomically
from reports.index import render_index
from reports.junit import write_suite_junit
from reports.page import page
from reports.recording import read_folder
from reports.summary import summary, write_suite_summary
from reports.timeline import timeline
from reports.wording import by_kind, tally, verdict_sentence

if TYPE_CHECKING:
    from pathlib import Path

    from reports.figures import Figures
    from reports.recording import RunFolder

__all__ = [
    "render",
    "render_index",
    "report_html",
    "write_suite_junit",
    "write_suite_summary",
]


def render(folder: Path) -> None:
    """Write `report.html`, `junit.xml` and `summary.md` into a run folder.

    Needs `run.json`; every other file may be missing and is then named in the report. Raises
    `UsageError` when there is no readable `run.json`.
    """
    run = read_folder(folder)
    numbers = figures(run.evidence)
    write_atomically(folder / "report.html", report_html(run, numbers))
    write_atomically(folder / "summary.md", summary(run.name, run.result))
    write_suite_junit([folder], folder / "junit.xml")


def report_html(run: RunFolder, numbers: Figures) -> str:
    """Return the report as one self-contained page that needs no JavaScript and loads nothing."""
    result, evidence = run.result, run.evidence
    end_s = float(numbers.bins.start_s[-1] + numbers.bins.width_s)
    return page(
        "report.html.j2",
        run=run,
        result=result,
        plan=evidence.plan,
        tally=tally(result),
        sentence=verdict_sentence(result),
        key_numbers=sections.key_numbers(result, evidence, numbers),
        groups=by_kind(result.findings),
        picture=timeline(evidence, result, numbers.bins),
        alerts=sections.scorecard(result),
        numbers=numbers,
        injections=evidence.injections or result.injections,
        recovery=sections.recovery(result, evidence, end_s),
        honesty=sections.honesty(result, evidence, numbers),
        invariants=sections.invariants(evidence),
        configuration=sections.configuration(result, evidence),
    )
