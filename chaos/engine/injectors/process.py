"""Process faults on a component: kill and keep down, pause. The stack owns the processes and acts on all of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.engine.injectors.probe import probe, question
from chaos.errors import HarnessError
from chaos.model.faults import Kill

if TYPE_CHECKING:
    from chaos.engine.injectors.base import Seen
    from chaos.model.faults import Fault
    from chaos.runtime.base import Stack

VERIFY_WITHIN_S = 2.0
VERIFY_EVERY_S = 0.02


class ProcessInjector:
    """Acts through the stack, which knows every process of a component."""

    async def undo_record(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Return the component and its process group; all of its processes stand in the stack's own record."""
        pid = (await stack.state(fault.target)).pid
        return {
            "family": "process",
            "kind": fault.kind,
            "component": fault.target,
            "stack": str(stack.folder),
            "pid": pid,
            "pgid": pid,
        }

    async def before(self, stack: Stack, fault: Fault) -> Seen:
        """Note which process runs now and how it treats a fresh connection."""
        state = await stack.state(fault.target)
        return {
            "pid": state.pid,
            "condition": state.condition,
            "probe": await _probe(stack, fault.target),
        }

    async def inject(self, stack: Stack, fault: Fault) -> None:
        """Kill or pause."""
        await (stack.kill(fault.target) if isinstance(fault, Kill) else stack.pause(fault.target))

    async def confirm(self, stack: Stack, fault: Fault) -> None:
        """Read the process's state back."""
        condition = (await stack.state(fault.target)).condition
        wanted = {"exited", "missing"} if isinstance(fault, Kill) else {"paused"}
        if condition not in wanted:
            raise HarnessError(f"{fault.sentence} is not in force: the component is {condition}")

    async def witness(self, stack: Stack, fault: Fault, before: Seen) -> dict[str, Any]:
        """Show that a running process was met: by the kernel's word for it, and by what a connection meets."""
        seen: dict[str, Any] = {"kind": fault.kind, "touched": False}
        try:
            now = (await stack.state(fault.target)).condition
            kernel = _kernel_state(before["pid"])
            answer = await _probe(stack, fault.target)
            seen |= {
                "pid": before["pid"],
                "condition_before": before["condition"],
                "condition_now": now,
                "kernel_state": kernel,
                "probe": answer,
                "probe_before": before["probe"],
            }
        except Exception as error:  # noqa: BLE001 (what cannot be shown is no witness, and never ends a run)
            return {**seen, "reason": str(error) or repr(error)}
        if before["condition"] != "running" or before["pid"] <= 0:
            return {**seen, "reason": f"the component was {before['condition']} before the fault"}
        held = now in {"exited", "missing"} if isinstance(fault, Kill) else now == "paused"
        allowed = {"", "X", "Z"} if isinstance(fault, Kill) else {"", "T", "t"}
        if not held or kernel not in allowed:
            return {**seen, "reason": f"process {before['pid']} is {now} ({kernel or 'gone'})"}
        if answer == before["probe"] and answer not in {"", "connected"}:
            return {**seen, "reason": f"a fresh connection is still {answer}"}
        return {**seen, "touched": True}

    async def heal(self, stack: Stack, fault: Fault, *, by_force: bool) -> None:
        """Start a killed component again, let a paused one run on; by force: start it again in any case."""
        if by_force or isinstance(fault, Kill):
            await stack.restart(fault.target)
        else:
            await stack.resume(fault.target)

    async def verify(self, stack: Stack, fault: Fault) -> None:
        """Prove that the component runs and serves."""
        until = asyncio.get_running_loop().time() + VERIFY_WITHIN_S
        while True:
            condition = (await stack.state(fault.target)).condition
            answer = await _probe(stack, fault.target)
            if condition == "running" and answer in {"", "answered", "connected"}:
                return
            if condition in {"exited", "missing"} or asyncio.get_running_loop().time() > until:
                raise HarnessError(
                    f"{fault.target} is {condition} after the heal, a fresh connection is {answer or 'not tried'}"
                )
            await asyncio.sleep(VERIFY_EVERY_S)


async def _probe(stack: Stack, component: str) -> str:
    """Return how the component's readiness port treats a fresh connection; empty where it has none."""
    part = stack.topology.component(component)
    port = part.ready.port
    if port not in part.ports:
        return ""
    return (await probe(stack.address(component, port), question(part, port))).answer


def _kernel_state(pid: int) -> str:
    """Return the kernel's letter for a process's state (T: stopped, Z: dead); empty when gone or not Linux."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return text[text.rindex(")") + 2]
