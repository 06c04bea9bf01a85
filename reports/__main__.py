"""`python -m reports RUN_DIR…` renders runs; `--index`, `--junit` and `--summary` render over several of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chaos.errors import UsageError


def main(arguments: list[str] | None = None) -> int:
    """Render what the arguments name and return the exit code: 0, or 2 with one line for what cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN_DIR", help="run folders to render")
    parser.add_argument("--index", type=Path, metavar="RUNS_DIR", help="write index.html over all runs in RUNS_DIR")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write one JUnit file over the given runs")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write one Markdown file over the given runs")
    chosen = parser.parse_args(arguments)
    suites = chosen.junit or chosen.summary
    if not chosen.runs and (suites or not chosen.index):
        parser.error("no run folder given; expected reports/runs/<utc>-<scenario>, or --index reports/runs")
    try:
        _render(chosen)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _render(chosen: argparse.Namespace) -> None:
    # Each branch imports what it needs: only a report needs pandas, which costs most of a second.
    if chosen.junit:
        from reports.junit import write_suite_junit  # noqa: PLC0415 (see above)

        write_suite_junit(chosen.runs, chosen.junit)
    if chosen.summary:
        from reports.summary import write_suite_summary  # noqa: PLC0415 (see above)

        write_suite_summary(chosen.runs, chosen.summary)
    if chosen.runs and not (chosen.junit or chosen.summary):
        from reports.build import render  # noqa: PLC0415 (see above)

        for folder in chosen.runs:
            render(folder)
            print(folder / "report.html")
    if chosen.index:
        from reports.index import render_index  # noqa: PLC0415 (see above)

        print(render_index(chosen.index))


if __name__ == "__main__":
    sys.exit(main())
