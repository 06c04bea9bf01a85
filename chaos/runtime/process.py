"""Starting one process of a component: output to its log, a session of its own, death with the runner."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from chaos.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1
# Bound before any fork: looking it up in the child could meet a lock that another thread held.
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
TAIL_LINES: Final = 15
_TAIL_BYTES: Final = 16_384


def spawn(
    name: str,
    argv: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    log: Path,
    uid: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv`; `uid` (root only) also becomes its group. Raises `HarnessError` when it cannot start.

    Call it from a thread that lives as long as the stack: Linux ties the child's death to the thread.
    """
    with log.open("ab") as output:
        try:
            return subprocess.Popen(  # noqa: S603 - the topology's own commands
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
                # After the change of user, which would clear the setting. Only two system calls: safe
                # between fork and exec even while other threads hold locks.
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HarnessError(
                f"{name} cannot start {argv[0]}: {error}; see 'chaosbed doctor'"
            ) from error


def _die_with(parent: int) -> Callable[[], None] | None:
    """Return what makes a child die with its parent, even on SIGKILL; elsewhere the watchdog sees to it."""
    if _prctl is None:
        return None
    prctl = _prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between the fork and the call
            os._exit(1)

    return arm


def log_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, for an error message."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "(no output)"
    return "\n".join(text.splitlines()[-lines:]) or "(no output)"
