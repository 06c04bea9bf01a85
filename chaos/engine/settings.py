"""The settings of a scenario on a stack: in force before the load, and taken back whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from chaos.engine.session import Session
    from chaos.model.scenario import Setting


@asynccontextmanager
async def settings_of(settings: tuple[Setting, ...], session: Session) -> AsyncIterator[None]:
    """Start the components again with these settings; start them again without, at the end.

    Raises `UsageError` on a stack that others use too: nobody would take the settings back for them when this process
    is killed. Raises `HarnessError` when a component does not come up.
    """
    if settings and session.shared:
        names = ", ".join(sorted({s.component for s in settings}))
        raise UsageError(
            f"this scenario starts {names} with other settings; end the living stack first (`chaosbed down`)"
        )
    wanted: dict[str, dict[str, str]] = {}
    for setting in settings:
        wanted.setdefault(setting.component, {})[setting.name] = setting.value
    try:
        await _replace(wanted, session)
        yield
    finally:
        topology = session.stack.topology
        before = {
            name: {key: dict(topology.component(name).environment)[key] for key in changed}
            for name, changed in wanted.items()
        }
        await asyncio.shield(asyncio.create_task(_replace(before, session)))


async def _replace(wanted: Mapping[str, Mapping[str, str]], session: Session) -> None:
    await asyncio.gather(
        *(session.stack.replace(name, environment=values) for name, values in wanted.items())
    )
