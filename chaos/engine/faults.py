"""The faults of one run: journalled, injected, confirmed, witnessed, healed in reverse, and proved gone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.engine.injectors.registry import injector_for
from chaos.engine.unstoppable import to_the_end
from chaos.errors import ChaosError, HarnessError, HealError, UsageError
from chaos.toxiproxy.client import Toxiproxy, ToxiproxyError, ToxiproxyTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.engine.injectors.base import Injector, Seen
    from chaos.engine.journal import Journal
    from chaos.model.faults import Fault
    from chaos.runtime.base import Stack

ACT_WITHIN_S = 10.0
HEAL_WITHIN_S = {"dependency": 5.0, "component": 30.0}
"""A component may have to start again, an edge only has to answer."""
LEASE_GRACE_S = 2.0
READ_WITHIN_S = 1.0
_FAILURES = (ChaosError, OSError, TimeoutError)


@dataclass(slots=True)
class _Injection:
    """One fault that was asked for and is not healed yet. `doubtful`: a call went unanswered, so force is due."""

    id: str
    fault: Fault
    until_s: float
    injector: Injector
    doubtful: bool = False
    witness: asyncio.Task[None] | None = None


@dataclass(slots=True)
class FaultSession:
    """Acts on one stack. Nothing here is forgotten: what was asked is healed, whatever happened in between.

    `now_s` is the run's clock. Cancelling a call never leaves it half done: it ends first, within its limits.
    """

    stack: Stack
    journal: Journal
    now_s: Callable[[], float]
    injectors: Callable[[Fault], Injector] = injector_for
    _open: list[_Injection] = field(default_factory=list)
    _count: int = 0
    _acting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def in_force(self) -> tuple[str, ...]:
        """Return a few words on each fault in force."""
        return tuple(i.fault.sentence for i in self._open)

    async def apply(self, fault: Fault, phase: str, until_s: float) -> str:
        """Bring a fault into force until about `until_s`, and return why that failed, or an empty string.

        A fault that could not be brought into force is journalled as a problem and undone at once: the run goes on
        and its verdict cannot be PASS. The witness is taken meanwhile, while traffic meets the fault.
        Raises `UsageError` when its target already has a fault, and `HarnessError` when the journal cannot be
        written: then nothing was done.
        """
        return await to_the_end(self._apply(fault, phase, until_s))

    async def heal_all(self) -> None:
        """Heal every fault, the latest first. Raises `HealError` that names what is left; harmless to repeat."""
        await to_the_end(self._heal(lambda _: True))

    async def heal_due(self, t_s: float) -> None:
        """Heal the faults whose planned end has come. Raises `HealError` like `heal_all`."""
        await to_the_end(self._heal(lambda injection: injection.until_s <= t_s))

    async def residue(self) -> list[str]:
        """Return in words what is not as it should be: toxics, closed routes, paused or missing components."""
        topology = self.stack.topology
        found = await asyncio.gather(
            *(self._edge_residue(edge.name) for edge in topology.dependencies),
            *(self._part_residue(part.name) for part in topology.components if not part.one_shot),
        )
        return [text for text in found if text]

    async def _apply(self, fault: Fault, phase: str, until_s: float) -> str:
        async with self._acting:
            for other in self._open:
                if (other.fault.target_kind, other.fault.target) == (
                    fault.target_kind,
                    fault.target,
                ):
                    raise UsageError(
                        f"{fault.sentence}: {other.fault.sentence} is already in force there; heal it first, "
                        f"since the last resort of an undo takes everything off its target"
                    )
            injection, before = await self._ask(fault, phase, until_s)
            try:
                async with asyncio.timeout(ACT_WITHIN_S):
                    await injection.injector.inject(self.stack, fault)
                    await injection.injector.confirm(self.stack, fault)
                self.journal.write(injection.id, "confirmed")
            except _FAILURES as error:
                problem = str(error) or repr(error)
                self._note(injection, "problem", problem=problem)
                # What got no answer may still come to pass, and no further call would be answered either.
                injection.doubtful = isinstance(error, TimeoutError | ToxiproxyTimeoutError)
                await self._heal_and_forget(injection)
                return problem
            injection.witness = asyncio.create_task(self._witness(injection, before))
            return ""

    async def _ask(self, fault: Fault, phase: str, until_s: float) -> tuple[_Injection, Seen]:
        """Write down what is about to be done and how to undo it."""
        self._count += 1
        injection = _Injection(f"i{self._count}", fault, until_s, self.injectors(fault))
        try:
            async with asyncio.timeout(ACT_WITHIN_S):
                undo = await injection.injector.undo_record(self.stack, fault)
                before = await injection.injector.before(self.stack, fault)
        except TimeoutError as error:
            raise HarnessError(f"{fault.target} could not be read in {ACT_WITHIN_S:g} s") from error
        try:
            self.journal.write(
                injection.id,
                "asked",
                fault=fault.to_json(),
                phase=phase,
                undo=undo,
                lease_until_wall=time.time() + until_s - self.now_s() + LEASE_GRACE_S,
            )
        except OSError as error:
            raise HarnessError(
                f"{fault.sentence} was not injected: the journal {self.journal.path} cannot be written: {error}"
            ) from error
        self._open.append(injection)
        return injection, before

    async def _heal(self, due: Callable[[_Injection], bool]) -> None:
        async with self._acting:
            problems = [
                f"{injection.fault.sentence}: {problem}"
                for injection in [i for i in reversed(self._open) if due(i)]
                if (problem := await self._heal_and_forget(injection))
            ]
        if problems:
            raise HealError(
                f"not undone: {'; '.join(problems)}; end the stack with `chaosbed down`"
            )

    async def _heal_and_forget(self, injection: _Injection) -> str:
        """Heal one fault, by force if it must be; return what went wrong, or an empty string."""
        await _stop(injection.witness)
        fault, injector = injection.fault, injection.injector
        limit_s = HEAL_WITHIN_S[fault.target_kind]
        problem = ""
        for by_force in (True,) if injection.doubtful else (False, True):
            until_wall = time.time() + limit_s
            self._note(
                injection, "healing", by_force=by_force, because=problem, until_wall=until_wall
            )
            try:
                async with asyncio.timeout(limit_s):
                    await injector.heal(self.stack, fault, by_force=by_force)
                    await injector.verify(self.stack, fault)
            except _FAILURES as error:
                problem = str(error) or f"no end in {limit_s:g} s"
            else:
                self._open.remove(injection)
                self._note(injection, "healed", by_force=by_force)
                return ""
        self._note(injection, "problem", problem=f"not undone: {problem}")
        return problem

    async def _witness(self, injection: _Injection, before: Seen) -> None:
        seen: dict[str, Any] = {"kind": injection.fault.kind, "touched": False}
        try:
            seen = await injection.injector.witness(self.stack, injection.fault, before)
        except asyncio.CancelledError:
            seen["reason"] = "it was healed before anything showed that it touched traffic"
            raise
        finally:
            self._note(injection, "witnessed", witness=seen)

    def _note(self, injection: _Injection, event: str, **more: Any) -> None:  # noqa: ANN401 (JSON values)
        """Write a line that must not stop what goes on: a full disk is no reason to leave a fault in force."""
        try:
            self.journal.write(injection.id, event, **more)
        except OSError:
            return  # a missing line is judged as if it had not happened: never in favour of the run

    async def _edge_residue(self, dependency: str) -> str:
        edge = self.stack.topology.dependency(dependency)
        address = self.stack.address(edge.component, edge.api_port)
        api = Toxiproxy(*address, within_s=READ_WITHIN_S)
        try:
            state = await asyncio.to_thread(api.proxy, edge.proxy)
        except ToxiproxyError as error:
            return f"{dependency}: {error}"
        if not state.enabled:
            return f"{dependency}: its route is disabled"
        toxics = ", ".join(toxic.name for toxic in state.toxics)
        return f"{dependency}: toxics {toxics}" if toxics else ""

    async def _part_residue(self, component: str) -> str:
        try:
            condition = (await self.stack.state(component)).condition
        except HarnessError as error:
            return f"{component}: {error}"
        return "" if condition == "running" else f"{component} is {condition}"


async def _stop(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=READ_WITHIN_S)
