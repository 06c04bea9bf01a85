"""What a person sees while servers are built: one rewritten line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LIVE_EVERY_S: Final = 0.5
PLAIN_EVERY_S: Final = 15.0
CLEAR: Final = "\r\x1b[K"


class Progress:
    """Shows the builds at work with their age and the number of packages compiled so far.

    Builds run in threads of their own and call `begin`, `step` and `end`; a ticker thread shows the state between.
    `echo` gets the lines that stay; the rewritten line goes to `terminal` directly, when that is one.
    """

    def __init__(self, echo: Callable[[str], None], terminal: TextIO | None = None) -> None:
        self._echo = echo
        self._terminal = sys.stdout if terminal is None else terminal
        self._is_live = self._terminal.isatty()
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._packages: dict[str, int] = {}
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._ticker.join()
        self._wipe()

    def begin(self, name: str) -> None:
        """Say that `name` is at work from now on."""
        with self._lock:
            self._began[name] = time.monotonic()
            self._packages[name] = 0
            self._wipe()
            self._echo(f"  {name}: building")

    def step(self, name: str) -> None:
        """Count one compiled package."""
        with self._lock:
            self._packages[name] += 1

    def end(self, name: str, outcome: str) -> None:
        """Say how `name` ended, with the time that it took."""
        with self._lock:
            took_s = time.monotonic() - self._began.pop(name)
            self._wipe()
            self._echo(f"  {name}: {outcome} after {took_s:.0f} s")

    def _tick(self) -> None:
        while not self._over.wait(LIVE_EVERY_S if self._is_live else PLAIN_EVERY_S):
            with self._lock:
                if not self._began:
                    continue
                if self._is_live:
                    self._terminal.write(f"{CLEAR}  {self._state()}")
                    self._terminal.flush()
                else:
                    self._echo(f"  ... {self._state()}")

    def _state(self) -> str:
        now = time.monotonic()
        return " · ".join(
            f"{name} {now - began:.0f} s"
            + (f", {count} packages" if (count := self._packages[name]) else ", downloading")
            for name, began in self._began.items()
        )

    def _wipe(self) -> None:
        if self._is_live:
            self._terminal.write(CLEAR)
            self._terminal.flush()
