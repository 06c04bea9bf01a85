"""`python -m loadtests --run-folder DIR --host URL`: the load generator of one run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import locust  # noqa: F401  first of all: it patches the standard library for the whole process

from chaos.errors import ChaosError
from loadtests.child import run


def main(arguments: list[str]) -> int:
    """Run the plan that lies in a run folder; return an exit code (0, or that of a `ChaosError`)."""
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("--run-folder", type=Path, required=True, help="holds plan.json")
    parser.add_argument("--host", required=True, help="the system's URL, http://127.0.0.1:8000")
    options = parser.parse_args(arguments)
    try:
        run(options.run_folder, options.host)
    except ChaosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
