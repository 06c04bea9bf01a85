"""What counts as a witness of a network fault: pure judgement over numbers, apart from how they were got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.model.faults import Bandwidth, Blackhole, Latency, LimitBytes, Refuse, Reset

if TYPE_CHECKING:
    from chaos.engine.injectors.probe import Probe
    from chaos.engine.injectors.traffic import Snapshot, Tally
    from chaos.model.faults import Fault

HELD_BACK_LOOKS = 3
"""A healthy edge may hold a few bytes at one look; in a row of looks only a delay does."""
TIMER_SLACK = 0.9


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges one fault against the edge as it was before: its connections (None: unseen) and a probe through it."""

    fault: Fault
    before: Snapshot | None
    first: Probe

    def why_untouched(self, tally: Tally) -> str:
        """Say why no client's traffic can have met the fault; empty when some has."""
        if self.before is None:
            return "this machine does not show its connections, so nothing proves that a client used this edge"
        if isinstance(self.fault, Refuse):
            return self._why_not_refused(self.before, tally)
        if isinstance(self.fault, Reset | LimitBytes):
            return self._why_none_ended(tally)
        return self._why_unmet(tally)

    def why_unlike(self, now: Probe) -> str:
        """Say how a fresh connection was not treated as the fault says; empty when it was.

        Where the protocol is unknown nothing can be asked; then the clients' own bytes have shown it already.
        """
        if isinstance(self.fault, Latency):
            least_ms = (self.fault.delay_ms - self.fault.jitter_ms) * TIMER_SLACK
            late = now.answer == "answered" and now.took_ms - self.first.took_ms >= least_ms
            alike = late or now.answer == "connected"
        elif isinstance(self.fault, Refuse):
            alike = now.answer == "refused"
        elif isinstance(self.fault, Reset):
            alike = now.answer in {"closed", "connected"}
        elif isinstance(self.fault, Bandwidth | LimitBytes):
            # One small question may pass whole: it is the clients' bytes that show these.
            alike = now.answer in {"answered", "closed", "silent", "connected"}
        else:
            alike = now.answer in {"silent", "connected"}
        if alike:
            return ""
        before = f"(before: {self.first.answer} after {self.first.took_ms:.0f} ms)"
        return f"a fresh connection was {now.answer} after {now.took_ms:.0f} ms {before}"

    def numbers(self, tally: Tally, now: Probe) -> dict[str, Any]:
        """Return what was seen, for the evidence; None where the kernel does not tell."""
        counted = tally.counted
        return {
            "clients_before": None if self.before is None else len(self.before.clients),
            "clients_most": tally.clients_max,
            "clients_now": tally.clients_now,
            "clients_ended": tally.ended(self.before),
            "bytes_from_clients": tally.from_clients if counted else None,
            "bytes_to_clients": tally.to_clients if counted else None,
            "bytes_held_back": tally.held_back_most if counted else None,
            "unanswered": tally.unanswered if counted else None,
            "probe": now.answer,
            "probe_ms": round(now.took_ms, 1),
            "probe_ms_before": round(self.first.took_ms, 1),
        }

    def _why_not_refused(self, before: Snapshot, tally: Tally) -> str:
        if not before.clients:
            return "no client was connected through this edge before it refused"
        return f"{tally.clients_now} clients are still connected" if tally.clients_now else ""

    def _why_none_ended(self, tally: Tally) -> str:
        """Say why no connection can have been ended by the fault; empty when one was that had moved bytes."""
        if not tally.ended(self.before):
            return "no client's connection ended while the fault was in force"
        if tally.counted and tally.from_clients <= 0 and tally.to_clients <= 0:
            return "connections ended on which nothing had moved"
        return ""

    def _why_unmet(self, tally: Tally) -> str:
        if not tally.clients_max:
            return "no client was connected through this edge while the fault was in force"
        if tally.counted:
            return self._why_unmoved(tally)
        blind = self.first.answer == "connected"
        return "nothing can be asked here, and this machine does not tell bytes" if blind else ""

    def _why_unmoved(self, tally: Tally) -> str:
        if tally.from_clients <= 0:
            return (
                "the connected clients sent nothing through this edge while the fault was in force"
            )
        if isinstance(self.fault, Blackhole):
            if not tally.unanswered:
                return f"every client that sent something was answered ({tally.to_clients} bytes)"
        elif isinstance(self.fault, Bandwidth):
            if tally.held_back_looks < HELD_BACK_LOOKS:
                return "the clients' bytes never had to wait in the edge: they were fewer than the limit"
        elif self.first.answer == "connected" and tally.held_back_looks < HELD_BACK_LOOKS:
            return "nothing can be asked here, and the clients' bytes do not lag in the edge"
        return ""
