"""Ends what a killed measurement has left: it waits until its input closes, however that came about."""

from __future__ import annotations

import shutil
import sys

from chaos.runtime.proctree import Family, exterminate

if __name__ == "__main__":
    sys.stdin.read()
    # PostgreSQL's backends hide their environment, but they descend from a process that does not.
    left = exterminate(Family((), sys.argv[1]))
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    sys.exit(len(left))
