"""The client's side of a living stack: its control file, and a Stack that acts through the control API."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from chaos.errors import HarnessError, UsageError
from chaos.runtime.base import ComponentState, Residue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from chaos.model.topology import Topology

CONTROL_FILE = "control.json"
ACT_WITHIN_S = 30.0
ASK_WITHIN_S = 3.0


def state_folder(root: Path) -> Path:
    """Return where living stacks keep their state: `CHAOSBED_STATE`, or `.chaosbed` of this checkout."""
    return Path(os.environ.get("CHAOSBED_STATE") or root / ".chaosbed")


@dataclass(frozen=True, slots=True)
class Control:
    """Where a living stack listens: loopback URL, token, and the process that holds it."""

    url: str
    token: str
    pid: int


def read_control(state: Path) -> Control | None:
    """Return the control file's content, or None when there is no living stack."""
    path = state / CONTROL_FILE
    try:
        data = json.loads(path.read_text())
        return Control(data["url"], data["token"], int(data["pid"]))
    except (OSError, ValueError, KeyError):
        return None


@dataclass(slots=True)
class AttachedStack:
    """A Stack whose processes belong to the living stack's own process."""

    topology: Topology
    folder: Path
    time_scale: float
    addresses: dict[str, dict[str, int]]
    control: Control
    http: aiohttp.ClientSession = field(repr=False)

    @staticmethod
    async def attach(control: Control, topology: Topology) -> AttachedStack | None:
        """Connect to the living stack; None when it does not answer (a stale file).

        Raises `UsageError` when it was started from another topology.
        """
        http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {control.token}"})
        try:
            status = await _ask(http, control, "GET", "/status", limit_s=ASK_WITHIN_S)
        except HarnessError:
            await http.close()
            return None
        if status["topology_digest"] != topology.digest:
            await http.close()
            raise UsageError(
                "the living stack was started from another compose.yaml; end it with `chaosbed down` and start again"
            )
        return AttachedStack(
            topology,
            Path(status["folder"]),
            float(status["time_scale"]),
            status["addresses"],
            control,
            http,
        )

    def address(self, component: str, port: int) -> tuple[str, int]:
        """Return where a component's container port can be reached."""
        return "127.0.0.1", self.addresses[component][str(port)]

    def log_path(self, component: str) -> Path:
        """Return the file that holds the component's output."""
        return self.folder / "logs" / f"{component}.log"

    async def state(self, component: str) -> ComponentState:
        """Return what the component's process is doing now."""
        data = await self._post("/state", {"component": component}, ASK_WITHIN_S)
        return ComponentState(**data)

    async def kill(self, component: str) -> None:
        """Send SIGKILL to all of the component's processes."""
        await self._post("/kill", {"component": component})

    async def pause(self, component: str) -> None:
        """Stop all of the component's processes."""
        await self._post("/pause", {"component": component})

    async def resume(self, component: str) -> None:
        """Let the component's processes run on."""
        await self._post("/resume", {"component": component})

    async def restart(self, component: str) -> None:
        """Start the component and wait until it is ready."""
        await self._post("/restart", {"component": component})

    async def replace(
        self,
        component: str,
        *,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        wipe: bool = False,
        before: Callable[[Mapping[str, Path]], Awaitable[None]] | None = None,
    ) -> None:
        """Restart the component with other files or environment. `before` cannot cross processes."""
        if before is not None:
            raise HarnessError(
                f"{component} of a living stack cannot be prepared from here; use reset_monitoring"
            )
        body = {
            "component": component,
            "files": dict(files or {}),
            "environment": dict(environment or {}),
            "wipe": wipe,
        }
        await self._post("/replace", body)

    async def reset_monitoring(self, sink: str, rate_rps: float) -> None:
        """Let the living stack restart its monitoring on a healthy past."""
        await self._post("/monitoring", {"sink": sink, "rate_rps": rate_rps})

    async def down(self) -> Residue:
        """End the living stack."""
        data = await self._post("/down", {})
        return Residue(tuple(data["processes"]), tuple(data["ports"]))

    async def close(self) -> None:
        """Let go of the living stack."""
        await self.http.close()

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call the control API. Raises `HarnessError` with its own words when it refuses."""
        return await _ask(self.http, self.control, method, path, body)

    async def _post(
        self, path: str, body: dict[str, Any], limit_s: float = ACT_WITHIN_S
    ) -> dict[str, Any]:
        return await _ask(self.http, self.control, "POST", path, body, limit_s=limit_s)


async def _ask(
    http: aiohttp.ClientSession,
    control: Control,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    limit_s: float = ACT_WITHIN_S,
) -> dict[str, Any]:
    try:
        async with http.request(
            method, control.url + path, json=body, timeout=aiohttp.ClientTimeout(total=limit_s)
        ) as response:
            data = await response.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise HarnessError(
            f"the living stack at {control.url} did not answer {path}: {error!r}"
        ) from error
    if response.status >= 400:  # noqa: PLR2004 (HTTP's own border between answers and refusals)
        wrong = UsageError if response.status == 400 else HarnessError  # noqa: PLR2004
        raise wrong(str(data.get("error", f"{path} answered {response.status}")))
    return dict(data)
