"""Every error that the engine raises on purpose, each with the exit code it ends the process with."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ChaosError(Exception):
    """The root. `str(error)` is one clear line: the value, what was expected, the next step."""

    exit_code: ClassVar[int] = 4


class UsageError(ChaosError):
    """Bad input or configuration, found before anything started."""

    exit_code: ClassVar[int] = 2


class SetupError(UsageError):
    """A tool or folder that a run needs is missing; the line names the command that mends it."""


class InconclusiveError(ChaosError):
    """The run cannot decide its claim: no witness, no traffic, an unhealthy generator."""

    exit_code: ClassVar[int] = 3


class HarnessError(ChaosError):
    """The harness itself failed: a component did not start, a call had no answer."""


class HealError(HarnessError):
    """A fault could not be undone; the line says what is left and how to clear it."""


def unknown(kind: str, value: str, known: Iterable[str], *, where: str = "") -> UsageError:
    """Build the one-line error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = get_close_matches(value, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {kind} {value!r}{where}; {hint}")
