"""`python -m chaos.setup` builds what is missing; `python -m chaos.setup doctor` says what is."""

from __future__ import annotations

import sys
from typing import Final

from chaos.errors import ChaosError, UsageError
from chaos.setup.build import run_setup
from chaos.setup.doctor import run_doctor
from chaos.setup.go import NEXT_STEP

INTERRUPTED: Final = 130


def main(arguments: list[str]) -> int:
    """Run one of the two and return its exit code."""
    try:
        match arguments:
            case []:
                run_setup(_say)
            case ["doctor"]:
                return run_doctor(_say, as_json=False)
            case _:
                raise UsageError(
                    f"unknown arguments {' '.join(arguments)!r}; expected none, or `doctor`"
                )
    except ChaosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {NEXT_STEP}\n")
        return INTERRUPTED
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
