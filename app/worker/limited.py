"""Puts limits on itself and becomes another program. Run by path, with `python -I -S`, which takes 15 ms.

    limited.py CPU_S MEMORY_BYTES FILE_BYTES PROGRAM ARGUMENT...

It is a program of its own because the alternatives are worse: code between fork and exec can meet a lock
that another thread held (and the worker has threads), and limits set from outside come after the start.
So nothing of the other program ever runs without them. On Linux it also dies with the worker, on SIGKILL
too; elsewhere an orphan is bounded by its processor time.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

NICENESS = 10
STACK_BYTES = 1 << 20
"""Also what each thread takes of the address space: with 8 MiB the memory limit would count air."""
OPEN_FILES = 64
GRACE_S = 2
"""Between the signal that a program may catch and the one that it may not."""
_PR_SET_PDEATHSIG = 1


def limit_memory(limit: int) -> None:
    """Limit the address space. macOS knows no such limit and refuses to set it."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        if sys.platform == "linux":
            raise


def die_with_parent() -> None:
    """Be killed when the worker ends, however it ends."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - it costs 5 ms and is of use here alone

        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Set the limits and become the program."""
    cpu_s, memory_bytes, file_bytes = map(int, sys.argv[1:4])
    program = sys.argv[4:]
    die_with_parent()
    os.nice(NICENESS)
    # Python ignores it, and what is ignored stays so: the program would see errors instead of its end.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + GRACE_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, STACK_BYTES))
    limit_memory(memory_bytes)
    os.execv(program[0], program)  # noqa: S606 - the worker's own words, and no shell


if __name__ == "__main__":
    main()
