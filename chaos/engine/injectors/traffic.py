"""What moved through an edge while a fault was in force, counted from the kernel's own numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.engine.injectors import sockets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.engine.injectors.sockets import Connection


@dataclass(frozen=True, slots=True)
class Edge:
    """Where to look: the port that clients use, the port that it leads to, the Toxiproxy's process (0: unknown)."""

    listen_port: int
    upstream_port: int
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An edge at one instant: Toxiproxy's connections to clients and to the upstream, by the other's port.

    The upstream's port may have direct users too, so only connections of Toxiproxy's own process count there.
    """

    clients: Mapping[int, Connection]
    upstreams: Mapping[int, Connection]

    def held_back(self, before: Snapshot) -> int | None:
        """Bytes more than `before` that came into the edge on one side and have not left it on the other.

        None when connections came or went in between: then the sums tell nothing.
        """
        if self.clients.keys() != before.clients.keys() or (
            self.upstreams.keys() != before.upstreams.keys()
        ):
            return None
        return max(now - then for now, then in zip(self._inside(), before._inside(), strict=True))

    def _inside(self) -> tuple[int, int]:
        """Return bytes taken in and not given out, towards the clients and towards the upstream."""
        clients, upstreams = self.clients.values(), self.upstreams.values()
        down = sum(c.received or 0 for c in upstreams) - sum(c.sent or 0 for c in clients)
        up = sum(c.received or 0 for c in clients) - sum(c.sent or 0 for c in upstreams)
        return down, up


def look(edge: Edge) -> Snapshot | None:
    """Return the edge's connections now, or None where this machine does not show them."""
    table = sockets.established()
    if table is None:
        return None
    own = sockets.inodes_of(edge.pid) if edge.pid else frozenset()
    return Snapshot(
        {c.remote_port: c for c in table if c.local_port == edge.listen_port},
        {c.local_port: c for c in table if c.remote_port == edge.upstream_port and c.inode in own},
    )


@dataclass(slots=True)
class Tally:
    """Adds up what moves through an edge, look by look, from the first look on.

    Connections that were there at the first look count from their bytes of then; later ones from 0, since all of
    them is inside the fault. `counted` is False where the kernel does not tell bytes. `held_back_most` bytes were in
    the edge at once, and some were in it at `held_back_looks` looks in a row at most.
    """

    before: Snapshot | None
    clients_max: int = 0
    clients_now: int = 0
    held_back_most: int = 0
    held_back_looks: int = 0
    counted: bool = False
    _base: dict[int, Connection] = field(default_factory=dict)
    _latest: dict[int, Connection] = field(default_factory=dict)
    _looks: int = 0
    _row: int = 0

    def add(self, now: Snapshot) -> None:
        """Take one more look into account."""
        self._looks += 1
        if self._looks == 1:
            self._base = dict(now.clients)
        self._latest.update(now.clients)
        self.clients_now = len(now.clients)
        self.clients_max = max(self.clients_max, self.clients_now)
        self.counted |= any(c.received is not None for c in now.clients.values())
        held_back = None if self.before is None else now.held_back(self.before)
        self._row = self._row + 1 if held_back else 0
        self.held_back_looks = max(self.held_back_looks, self._row)
        self.held_back_most = max(self.held_back_most, held_back or 0)

    @property
    def from_clients(self) -> int:
        """Bytes that clients sent into the edge since the first look."""
        return sum((c.received or 0) - self._then(port)[0] for port, c in self._latest.items())

    @property
    def to_clients(self) -> int:
        """Bytes that clients got out of the edge since the first look."""
        return sum((c.sent or 0) - self._then(port)[1] for port, c in self._latest.items())

    @property
    def unanswered(self) -> int:
        """Connections on which a client sent something and got nothing since the first look.

        One by one, because one connection that still gets answers says nothing about the others.
        """
        moved = ((c, *self._then(port)) for port, c in self._latest.items())
        return sum(
            (c.received or 0) > received and (c.sent or 0) <= sent for c, received, sent in moved
        )

    def ended(self, before: Snapshot | None) -> int:
        """Return how many clients' connections were there, before or at any look, and are there no more."""
        known = self._latest.keys() | (before.clients.keys() if before else frozenset())
        return len(known) - self.clients_now

    def _then(self, port: int) -> tuple[int, int]:
        base = self._base.get(port)
        return (0, 0) if base is None else (base.received or 0, base.sent or 0)
