"""`python -m reports RUN_DIR…` renders runs; the options render over several of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chaos.errors import UsageError
from reports.index import render_index
from reports.junit import write_suite_junit
from reports.summary import write_suite_summary


def main(arguments: list[str] | None = None) -> int:
    """Render what the arguments name; return 0, or 2 after one line about what cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN_DIR", help="run folders to render"
    )
    parser.add_argument(
        "--index",
        type=Path,
        metavar="RUNS_DIR",
        help="write index.html over all runs in RUNS_DIR",
    )
    parser.add_argument(
        "--junit",
        type=Path,
        metavar="FILE",
        help="write one JUnit file over the given runs",
    )
    parser.add_argument(
        "--summary",
        type=Path,
        metavar="FILE",
        help="write one Markdown file over the given runs",
    )
    chosen = parser.parse_args(arguments)
    suites = chosen.junit or chosen.summary
    if not chosen.runs and (suites or not chosen.index):
        parser.error(
            "no run folder given; expected reports/runs/<utc>-<scenario>, or --index reports/runs"
        )
    try:
        _render(chosen)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _render(chosen: argparse.Namespace) -> None:
    if chosen.junit:
        write_suite_junit(chosen.runs, chosen.junit)
    if chosen.summary:
        write_suite_summary(chosen.runs, chosen.summary)
    if chosen.runs and not (chosen.junit or chosen.summary):
        # Only a report needs pandas, which takes most of a second to import.
        from reports.build import render  # noqa: PLC0415

        for folder in chosen.runs:
            render(folder)
            print(folder / "report.html")
    if chosen.index:
        print(render_index(chosen.index))


if __name__ == "__main__":
    sys.exit(main())
