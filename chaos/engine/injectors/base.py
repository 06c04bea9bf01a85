"""What every fault family must be able to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from chaos.runtime.base import Stack

Seen = dict[str, Any]
"""What `before` found: an opaque value that goes to `witness` of the same injector."""


class Injector(Protocol):
    """Brings one family of faults into force on a stack, proves it, undoes it, proves that.

    Every method has a limit of its own. Only `witness` never raises: what it cannot show, it says.
    """

    async def undo_record(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Return a JSON object with all that another process needs to undo the fault when this one is gone."""

    async def before(self, stack: Stack, fault: Fault) -> Seen:
        """Return what `witness` compares with, measured right before the fault acts."""

    async def inject(self, stack: Stack, fault: Fault) -> None:
        """Act. Raises `HarnessError` when the fault could not be asked for."""

    async def confirm(self, stack: Stack, fault: Fault) -> None:
        """Read the state back. Raises `HarnessError` when the fault is not in force."""

    async def witness(self, stack: Stack, fault: Fault, before: Seen) -> dict[str, Any]:
        """Return numbers that show what was touched: `kind`, `touched`, and a `reason` when it was not."""

    async def heal(self, stack: Stack, fault: Fault, *, by_force: bool) -> None:
        """Undo the fault; `by_force`: by the last resort, because gentler ways failed. Raises `HarnessError`."""

    async def verify(self, stack: Stack, fault: Fault) -> None:
        """Prove by use that the fault is gone. Raises `HarnessError` otherwise."""
