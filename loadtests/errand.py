"""What the load asks of the system on its own errand, before it begins: outside the ledger, each with a limit."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ASK_WITHIN_S = 5.0
WAIT_WITHIN_S = 20.0
LOOK_EVERY_S = 0.2


def fetch(
    host: str,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return what `host` (a URL of http or https) answers. Raises `HarnessError` for all but success."""
    url = f"{host.rstrip('/')}{path}"
    request = urllib.request.Request(url, body, dict(headers or {}), method=method)  # noqa: S310 (a URL, see above)
    try:
        with urllib.request.urlopen(request, timeout=ASK_WITHIN_S) as response:  # noqa: S310 (the same)
            return bytes(response.read())
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{method} {url}: {error}; expected an answer, so is the system up and healthy?"
        ) from error


def ask(
    host: str,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the JSON object that `host` answers. Raises `HarnessError`."""
    answer = fetch(host, method, path, body=body, headers=headers)
    try:
        return dict(json.loads(answer))
    except (ValueError, TypeError) as error:
        raise HarnessError(f"{method} {path}: {error}; expected a JSON object") from error


def wait_until(there: Callable[[], bool], what: str, within_s: float = WAIT_WITHIN_S) -> None:
    """Wait for a condition. Raises `HarnessError` that names it when it does not come."""
    end = time.monotonic() + within_s
    while not there():
        if time.monotonic() > end:
            raise HarnessError(f"waited {within_s:g} s in vain for {what}")
        time.sleep(LOOK_EVERY_S)
