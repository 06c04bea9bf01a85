"""Process faults on a component: kill and keep down, pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.errors import HarnessError
from chaos.model.faults import Kill

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from chaos.runtime.base import Stack


class ProcessInjector:
    """Acts through the stack, which owns the processes."""

    def undo_record(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Return the component; its processes are found through the stack's own record."""
        return {
            "family": "process",
            "kind": fault.kind,
            "component": fault.target,
            "stack": str(stack.folder),
        }

    async def before(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Note which process runs now."""
        state = await stack.state(fault.target)
        return {"pid": state.pid, "condition": state.condition}

    async def inject(self, stack: Stack, fault: Fault) -> None:
        """Kill or pause."""
        await (stack.kill(fault.target) if isinstance(fault, Kill) else stack.pause(fault.target))

    async def confirm(self, stack: Stack, fault: Fault) -> None:
        """Read the process's state back."""
        state = await stack.state(fault.target)
        wanted = {"exited", "missing"} if isinstance(fault, Kill) else {"paused"}
        if state.condition not in wanted:
            raise HarnessError(
                f"{fault.sentence} is not in force: the component is {state.condition}"
            )

    async def witness(self, stack: Stack, fault: Fault, before: dict[str, Any]) -> dict[str, Any]:
        """Show that a running process was met."""
        try:
            state = await stack.state(fault.target)
        except HarnessError as error:
            return {"kind": fault.kind, "touched": False, "reason": str(error)}
        ran = before["condition"] == "running" and before["pid"] > 0
        numbers = {
            "kind": fault.kind,
            "pid": before["pid"],
            "condition_before": before["condition"],
            "condition_now": state.condition,
            "touched": ran and state.condition != "running",
        }
        if not numbers["touched"]:
            numbers["reason"] = f"the component was {before['condition']} and is {state.condition}"
        return numbers

    async def heal(self, stack: Stack, fault: Fault) -> None:
        """Start a killed component again, let a paused one run on."""
        await (
            stack.restart(fault.target) if isinstance(fault, Kill) else stack.resume(fault.target)
        )

    async def verify(self, stack: Stack, fault: Fault) -> None:
        """Prove that the component runs; one that does not gets a restart."""
        if (await stack.state(fault.target)).condition != "running":
            await stack.restart(fault.target)
        state = await stack.state(fault.target)
        if state.condition != "running":
            raise HarnessError(f"{fault.target} is {state.condition} after the heal")
