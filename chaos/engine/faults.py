"""The faults of one run: journalled, injected, confirmed, witnessed, healed in reverse, and proved gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.engine.injectors.registry import injector_for
from chaos.errors import ChaosError, HealError
from chaos.toxiproxy.client import Toxiproxy, ToxiproxyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.engine.injectors.base import Injector
    from chaos.engine.journal import Journal
    from chaos.model.faults import Fault
    from chaos.runtime.base import Stack

ACT_WITHIN_S = 10.0
HEAL_WITHIN_S = 30.0
WITNESS_AFTER_S = 1.0
LEASE_GRACE_S = 2.0


@dataclass(slots=True)
class _Injection:
    """One fault that was asked for and is not healed yet."""

    id: str
    fault: Fault
    until_s: float
    injector: Injector
    witness: asyncio.Task[None] | None = None


@dataclass(slots=True)
class FaultSession:
    """Acts on one stack. Nothing here is forgotten: what was asked is healed, whatever happened in between."""

    stack: Stack
    journal: Journal
    now_s: Callable[[], float]
    injectors: Callable[[Fault], Injector] = injector_for
    _open: list[_Injection] = field(default_factory=list)
    _count: int = 0
    _healing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def in_force(self) -> tuple[str, ...]:
        """Return a few words on each fault in force."""
        return tuple(i.fault.sentence for i in self._open)

    async def apply(self, fault: Fault, phase: str, until_s: float) -> None:
        """Bring a fault into force until about `until_s`.

        A fault that could not be asked for or does not read back is journalled as a problem: the run goes on and
        its verdict cannot be PASS. The witness is taken a little later, while traffic meets the fault.
        """
        self._count += 1
        injector = self.injectors(fault)
        injection = _Injection(f"i{self._count}", fault, until_s, injector)
        before: dict[str, Any] = {}
        with contextlib.suppress(ChaosError, OSError, TimeoutError):
            before = await asyncio.wait_for(injector.before(self.stack, fault), ACT_WITHIN_S)
        self.journal.write(
            injection.id,
            "asked",
            fault=fault.to_json(),
            phase=phase,
            undo=injector.undo_record(self.stack, fault),
            lease_until_wall=time.time() + until_s - self.now_s() + LEASE_GRACE_S,
        )
        self._open.append(injection)
        try:
            await asyncio.wait_for(injector.inject(self.stack, fault), ACT_WITHIN_S)
            await asyncio.wait_for(injector.confirm(self.stack, fault), ACT_WITHIN_S)
        except (ChaosError, OSError, TimeoutError) as error:
            self.journal.write(injection.id, "problem", problem=str(error) or repr(error))
            return
        self.journal.write(injection.id, "confirmed")
        injection.witness = asyncio.create_task(self._witness(injection, before))

    async def heal_all(self) -> None:
        """Heal every fault, the latest first. Raises `HealError` that names what is left; harmless to repeat."""
        await self._heal(lambda _: True)

    async def heal_due(self, t_s: float) -> None:
        """Heal the faults whose planned end has come."""
        await self._heal(lambda injection: injection.until_s <= t_s)

    async def residue(self) -> list[str]:
        """Return in words what is not as it should be: toxics, closed routes, paused or missing components."""
        edges = await asyncio.gather(
            *(self._edge_residue(d.name) for d in self.stack.topology.dependencies)
        )
        found = [text for text in edges if text]
        for part in self.stack.topology.components:
            if part.one_shot:
                continue
            state = await self.stack.state(part.name)
            if state.condition != "running":
                found.append(f"{part.name} is {state.condition}")
        return found

    async def _heal(self, due: Callable[[_Injection], bool]) -> None:
        async with self._healing:
            left = []
            for injection in [i for i in reversed(self._open) if due(i)]:
                problem = await self._heal_one(injection)
                if problem:
                    left.append(f"{injection.fault.sentence}: {problem}")
                else:
                    self._open.remove(injection)
        if left:
            raise HealError(f"{'; '.join(left)}; clear it with `chaosbed down`")

    async def _heal_one(self, injection: _Injection) -> str:
        if injection.witness is not None:
            # The witness must not look at an edge that is being healed.
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(injection.witness, WITNESS_AFTER_S + 2.0)
        problem = ""
        for _ in range(2):
            try:
                async with asyncio.timeout(HEAL_WITHIN_S):
                    await injection.injector.heal(self.stack, injection.fault)
                    done_s = self.now_s()
                    await injection.injector.verify(self.stack, injection.fault)
            except (ChaosError, OSError, TimeoutError) as error:
                problem = str(error) or repr(error)
                self.journal.write(injection.id, "problem", problem=problem)
            else:
                self.journal.write(injection.id, "healed", verified_s=self.now_s(), acted_s=done_s)
                return ""
        return problem

    async def _witness(self, injection: _Injection, before: dict[str, Any]) -> None:
        await asyncio.sleep(WITNESS_AFTER_S)
        if not before:
            seen: dict[str, Any] = {
                "touched": False,
                "reason": "the state before the fault could not be read",
            }
        else:
            try:
                seen = await injection.injector.witness(self.stack, injection.fault, before)
            except (ChaosError, OSError, TimeoutError) as error:
                seen = {"touched": False, "reason": str(error) or repr(error)}
        self.journal.write(injection.id, "witnessed", witness=seen)

    async def _edge_residue(self, dependency: str) -> str:
        edge = self.stack.topology.dependency(dependency)
        api = Toxiproxy(*self.stack.address(edge.component, edge.api_port), within_s=1.0)
        try:
            state = await asyncio.to_thread(api.proxy, edge.proxy)
        except ToxiproxyError as error:
            return f"{dependency}: {error}"
        if state.clean:
            return ""
        toxics = ", ".join(t.name for t in state.toxics)
        return f"{dependency}: " + ("route disabled" if not state.enabled else f"toxics {toxics}")
