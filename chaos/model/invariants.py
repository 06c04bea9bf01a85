"""Invariants as values: what was promised, what was found, and the pure function that compares the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.model.reads import Row


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One write whose receipt the client has judged right: from then on it must not be lost, nor done twice.

    `id` is what the receipt names, `subject` what was written to ("" for something new), `checksum` the hex SHA-256 of
    what was sent ("" where there is no content), `idempotency_key` what the client sent with it.
    """

    t_s: float
    kind: str
    id: str
    subject: str = ""
    checksum: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an invariant is judged by. `first` are the reads from before the load, `begun` arrivals by journey."""

    acknowledged: tuple[Acknowledged, ...]
    reads: Mapping[str, tuple[Row, ...]]
    first: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    begun: Mapping[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, Acknowledged]:
        """Return the acknowledged writes of a kind by id; of one that was acknowledged again, the first time."""
        out: dict[str, Acknowledged] = {}
        for write in self.acknowledged:
            if write.kind == kind:
                out.setdefault(write.id, write)
        return out


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found: how many acknowledged writes were looked at, a sentence with counts, and each violation."""

    counted: int
    sentence: str
    violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that must hold after every run. `judge` is pure; it is called when all of `reads` are there.

    `journeys` are those whose arrivals are counted, so that a rehearsal can tell whether there will be enough.
    """

    name: str
    promise: str
    reads: tuple[str, ...]
    judge: Callable[[Facts], Judgement]
    journeys: tuple[str, ...] = ()
