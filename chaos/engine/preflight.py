"""What must be on this machine before anything starts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.setup.locate import tool

if TYPE_CHECKING:
    from chaos.model.topology import Topology

_TOOL = re.compile(r"\{tool:([\w.-]+)\}")
ALSO = ("promtool",)
"""Used by the engine itself, so no component's command names it."""


def check_tools(topology: Topology) -> None:
    """Raise `SetupError`, with the command that mends it, when a component's binary is missing."""
    commands = [
        word
        for part in topology.components
        for line in (part.command, *part.prepare)
        for word in line
    ]
    wanted = {name for word in commands for name in _TOOL.findall(word)}
    for name in sorted(wanted | set(ALSO)):
        tool(name)
