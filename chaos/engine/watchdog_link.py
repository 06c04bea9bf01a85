"""The runner's side of the watchdog: start it with a pipe, tell it what to end, let it go in peace."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Self

from chaos.engine.living import CONTROL_FILE, state_folder
from chaos.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from chaos.engine.session import Session

END_WITHIN_S = 5.0


class Watchdog:
    """A watchdog over one journal; an async context that ends it in peace."""

    def __init__(self, root: Path, folder: Path, session: Session) -> None:
        """Watch over the journal in `folder` for the session's stack."""
        self._root, self._folder, self._session = root, folder, session
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start the watchdog. It is a session of its own, so a Ctrl-C at the terminal does not reach it."""
        arguments = ["--run-folder", str(self._folder), "--stack", str(self._session.stack_json)]
        if self._session.shared:
            arguments += ["--control", str(state_folder(self._root) / CONTROL_FILE)]
        else:
            arguments.append("--private")
        with (self._folder / "watchdog.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "chaos.engine.watchdog", *arguments),
                cwd=self._root,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def register_pid(self, pid: int) -> None:
        """Let the watchdog end this process group too when the runner dies."""
        self._tell(f"pid {pid}")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the watchdog in peace. Raises `HarnessError` when it had died, since then nobody watched."""
        process = self._process
        if process is None:
            return
        died = process.returncode is not None
        if not died:
            self._tell("done")
            try:
                await asyncio.wait_for(process.wait(), END_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if died and error is None:
            raise HarnessError(
                f"the watchdog died during the run; see {self._folder / 'watchdog.log'}"
            )

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(line.encode() + b"\n")
