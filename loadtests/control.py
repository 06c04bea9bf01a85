"""The living stack's control API, as the web UI's Faults tab uses it: loopback, bearer token from a 0600 file."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

STATUS_WITHIN_S = 2.0
ACT_WITHIN_S = 30.0
REFUSED = 400


@dataclass(frozen=True, slots=True)
class Control:
    """Asks whichever stack the control file names at the moment of asking, so that one may come and go."""

    path: Path

    def status(self) -> dict[str, Any]:
        """Return the stack's status; `faults` lists the sentences of the faults in force."""
        return self._ask("GET", "/status", None, STATUS_WITHIN_S)

    def inject(self, fault: str) -> dict[str, Any]:
        """Ask for a fault in the words of `chaosbed inject`. Raises `UsageError` with the stack's own line."""
        return self._ask("POST", "/inject", {"fault": fault}, ACT_WITHIN_S)

    def heal(self) -> dict[str, Any]:
        """Undo every fault."""
        return self._ask("POST", "/heal", {}, ACT_WITHIN_S)

    def _ask(
        self, method: str, route: str, body: dict[str, Any] | None, within_s: float
    ) -> dict[str, Any]:
        try:
            control = json.loads(self.path.read_text())
            url, token = str(control["url"]), str(control["token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HarnessError("no living stack; start one with `chaosbed up`") from error
        request = urllib.request.Request(  # noqa: S310 (the stack's own loopback address)
            url + route,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=within_s) as response:  # noqa: S310
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            wrong = UsageError if error.code == REFUSED else HarnessError
            raise wrong(_reason(error)) from error
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"the living stack did not answer {route}: {error}; see `chaosbed status`"
            ) from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the living stack answered {error.code}"
