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
        "--index", type=Path, metavar="RUNS_DIR", help="write the index over RUNS_DIR"
    )
    parser.add_argument(
        "--suite",
        type=Path,
        metavar="DIR",
        help="write one junit.xml and one summary.md over the given runs into DIR, nothing else",
    )
    chosen = parser.parse_args(arguments)
    if not chosen.runs and (chosen.suite or not chosen.index):
        parser.error(
            "no run given; expected reports/runs/<utc>-<scenario>, or --index reports/runs"
        )
    try:
        _render(chosen.runs, chosen.suite, chosen.index)
    except (UsageError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return UsageError.exit_code
    return 0


def _render(runs: list[Path], suite: Path | None, index: Path | None) -> None:
    if suite:
        write_suite_junit(runs, suite / "junit.xml")
        write_suite_summary(runs, suite / "summary.md")
    elif runs:
        from reports.build import render  # noqa: PLC0415 (pandas, which nothing else here needs)

        for folder in runs:
            render(folder)
            sys.stdout.write(f"{folder / 'report.html'}\n")
    if index:
        sys.stdout.write(f"{render_index(index)}\n")


if __name__ == "__main__":
    sys.exit(main())
