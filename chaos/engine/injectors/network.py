"""Network faults on a dependency. Each edge has a Toxiproxy process of its own.

An undo that does not answer in time is never repeated: the edge's process is killed and started again. That needs no
API call and costs this edge only (162 of 162 came back, in 8 to 26 ms, measured against Toxiproxy 2.12).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from chaos.engine.injectors.judge import Judge
from chaos.engine.injectors.probe import SILENT_AFTER_S, probe, question
from chaos.engine.injectors.traffic import Edge, Tally, look
from chaos.errors import HarnessError
from chaos.model.faults import Bandwidth, Blackhole, Latency, LimitBytes, Refuse, Reset
from chaos.toxiproxy.client import CALL_WITHIN_S, Toxiproxy, ToxiproxyError
from chaos.toxiproxy.toxics import (
    BandwidthToxic,
    BlackholeToxic,
    LatencyToxic,
    LimitToxic,
    ResetToxic,
)
from chaos.toxiproxy.undo import restore

if TYPE_CHECKING:
    from chaos.engine.injectors.base import Seen
    from chaos.model.faults import Fault
    from chaos.model.topology import Dependency
    from chaos.runtime.base import Stack
    from chaos.toxiproxy.toxics import Stream, Toxic

CONFIRM_WITHIN_S = 1.0
"""The toxic was taken in time; reading it back may be slow on a busy machine without harm."""
TRAFFIC_WITHIN_S = 3.0
LOOK_EVERY_S = 0.02
VERIFY_WITHIN_S = 1.0
VERIFY_EVERY_S = 0.02
HEALTHY_MS = 100.0
SLOWER_THAN_DIRECT = 3.0
"""On a busy machine a healthy edge is slow because everything is: then the server's own pace is the measure."""


class NetworkInjector:
    """Acts through the control API of the dependency's own Toxiproxy."""

    async def undo_record(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Return the API's address, what to take back, and the process to end when the API hangs."""
        edge = stack.topology.dependency(fault.target)
        host, port = stack.address(edge.component, edge.api_port)
        pid = (await stack.state(edge.component)).pid
        return {
            "family": "network",
            "host": host,
            "port": port,
            "proxy": edge.proxy,
            "toxics": [toxic.name for toxic in toxics_of(fault)],
            "component": edge.component,
            "pid": pid,
            "pgid": pid,
        }

    async def before(self, stack: Stack, fault: Fault) -> Seen:
        """Time a round trip through the edge, then see who is connected."""
        edge = stack.topology.dependency(fault.target)
        first = await probe(*_through(stack, edge))
        return {
            "probe": first,
            "snapshot": await asyncio.to_thread(look, await _place(stack, edge)),
        }

    async def inject(self, stack: Stack, fault: Fault) -> None:
        """Disable the route, or add the toxics."""
        edge, api = _reach(stack, fault)
        if isinstance(fault, Refuse):
            await asyncio.to_thread(api.set_enabled, edge.proxy, enabled=False)
        for toxic in toxics_of(fault):
            await asyncio.to_thread(api.add_toxic, edge.proxy, toxic)

    async def confirm(self, stack: Stack, fault: Fault) -> None:
        """Read the proxy back: exactly what was asked, with every parameter, and nothing else."""
        edge, api = _reach(stack, fault, within_s=CONFIRM_WITHIN_S)
        state = await asyncio.to_thread(api.proxy, edge.proxy)
        wanted = {toxic.name: toxic.state for toxic in toxics_of(fault)}
        there = {toxic.name: toxic for toxic in state.toxics}
        if state.enabled is isinstance(fault, Refuse) or wanted != there:
            raise HarnessError(
                f"{fault.sentence} is not in force: the proxy reads back enabled={state.enabled}, "
                f"toxics {list(state.toxics)}; expected {list(wanted.values())}"
            )

    async def witness(self, stack: Stack, fault: Fault, before: Seen) -> dict[str, Any]:
        """Show that clients' traffic met the fault, and that the edge behaves as the fault says."""
        edge = stack.topology.dependency(fault.target)
        seen: dict[str, Any] = {"kind": fault.kind, "touched": False}
        try:
            judge = Judge(fault, before["snapshot"], before["probe"])
            tally = await _watch(await _place(stack, edge), judge)
            now = await probe(*_through(stack, edge), within_s=_patience_s(fault))
            seen |= judge.numbers(tally, now)
            reason = judge.why_untouched(tally) or judge.why_unlike(now)
        except Exception as error:  # noqa: BLE001 (what cannot be shown is no witness, and never ends a run)
            reason = str(error) or repr(error)
        return {**seen, "reason": reason} if reason else {**seen, "touched": True}

    async def heal(self, stack: Stack, fault: Fault, *, by_force: bool) -> None:
        """Take back what was added; when the API does not do it in time, start the edge's Toxiproxy again."""
        edge, api = _reach(stack, fault)
        if not by_force:
            try:
                names = [toxic.name for toxic in toxics_of(fault)]
                await asyncio.to_thread(restore, api, edge.proxy, names)
            except ToxiproxyError:
                pass
            else:
                return
        await stack.restart(edge.component)

    async def verify(self, stack: Stack, fault: Fault) -> None:
        """Prove by traffic: a fresh connection through the edge is served as quickly as one past it."""
        edge = stack.topology.dependency(fault.target)
        direct, now = await asyncio.gather(
            probe(*_past(stack, edge)), probe(*_through(stack, edge))
        )
        serves = direct.answer in {"answered", "connected"}
        limit_ms = max(HEALTHY_MS, direct.took_ms * SLOWER_THAN_DIRECT)
        until = asyncio.get_running_loop().time() + VERIFY_WITHIN_S
        while True:
            if now.answer == direct.answer and now.took_ms < limit_ms:
                return
            if not serves and now.answer != "refused":
                return  # the server itself is down or paused by another fault: the route leads to it all the same
            if asyncio.get_running_loop().time() > until:
                raise HarnessError(
                    f"{fault.target} does not serve after the heal: a fresh connection was {now.answer} after "
                    f"{now.took_ms:.0f} ms, past the edge {direct.answer} after {direct.took_ms:.0f} ms"
                )
            await asyncio.sleep(VERIFY_EVERY_S)
            now = await probe(*_through(stack, edge))


def toxics_of(fault: Fault) -> tuple[Toxic, ...]:
    """Return the toxics that make up a fault, at most one a stream."""
    direction = getattr(fault, "direction", None)
    if direction is None:
        return ()
    return tuple(_toxic(fault, f"chaosbed_{fault.kind}_{s}", s) for s in _streams(direction))


def _toxic(fault: Fault, name: str, stream: Stream) -> Toxic:
    match fault:
        case Latency():
            return LatencyToxic(name, stream, fault.delay_ms, fault.jitter_ms)
        case Blackhole():
            return BlackholeToxic(name, stream)
        case Bandwidth():
            return BandwidthToxic(name, stream, fault.rate_kb_per_s)
        case Reset():
            return ResetToxic(name, stream, fault.after_ms)
        case LimitBytes():
            return LimitToxic(name, stream, fault.limit_bytes)
    raise HarnessError(f"{fault.sentence}: no toxic does this")


async def _watch(place: Edge, judge: Judge) -> Tally:
    """Look at the edge's connections until traffic has met the fault, or it is clear that none will."""
    tally = Tally(judge.before)
    until = asyncio.get_running_loop().time() + TRAFFIC_WITHIN_S
    while True:
        now = await asyncio.to_thread(look, place)
        if now is None:
            return tally
        tally.add(now)
        if not judge.why_untouched(tally) or asyncio.get_running_loop().time() > until:
            return tally
        await asyncio.sleep(LOOK_EVERY_S)


def _patience_s(fault: Fault) -> float:
    """How long a probe waits: past the longest delay that the fault itself makes."""
    if not isinstance(fault, Latency):
        return SILENT_AFTER_S
    once_ms = fault.delay_ms + fault.jitter_ms
    return SILENT_AFTER_S + once_ms * len(_streams(fault.direction)) / 1_000


def _streams(direction: str) -> tuple[Stream, ...]:
    return ("downstream", "upstream") if direction == "both" else (cast("Stream", direction),)


def _reach(
    stack: Stack, fault: Fault, *, within_s: float = CALL_WITHIN_S
) -> tuple[Dependency, Toxiproxy]:
    edge = stack.topology.dependency(fault.target)
    return edge, Toxiproxy(*stack.address(edge.component, edge.api_port), within_s=within_s)


def _through(stack: Stack, edge: Dependency) -> tuple[tuple[str, int], bytes]:
    """Return the edge's address and what can be asked there."""
    callee = stack.topology.component(edge.upstream)
    return stack.address(edge.component, edge.listen_port), question(callee, edge.upstream_port)


def _past(stack: Stack, edge: Dependency) -> tuple[tuple[str, int], bytes]:
    """Return the server's own address, past the edge, and what can be asked there."""
    callee = stack.topology.component(edge.upstream)
    return stack.address(edge.upstream, edge.upstream_port), question(callee, edge.upstream_port)


async def _place(stack: Stack, edge: Dependency) -> Edge:
    pid = (await stack.state(edge.component)).pid
    _, listen_port = stack.address(edge.component, edge.listen_port)
    _, upstream_port = stack.address(edge.upstream, edge.upstream_port)
    return Edge(listen_port, upstream_port, pid)
