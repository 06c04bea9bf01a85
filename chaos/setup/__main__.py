"""`python -m chaos.setup` builds what is missing; `python -m chaos.setup doctor` says what is."""

from __future__ import annotations

import sys

from chaos.errors import ChaosError
from chaos.setup.build import run_setup
from chaos.setup.doctor import run_doctor


def main(arguments: list[str]) -> int:
    """Run one of the two and return its exit code."""
    try:
        if arguments == ["doctor"]:
            return run_doctor(_say, as_json=False)
        run_setup(_say)
    except ChaosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
