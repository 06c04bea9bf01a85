"""The faults that a scenario can name: frozen values with strict ranges and units last."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from chaos.errors import UsageError, unknown

Direction = Literal["downstream", "upstream", "both"]
TargetKind = Literal["dependency", "component"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What every fault has: a kind and a target."""

    kind: ClassVar[str] = ""
    target_kind: ClassVar[TargetKind] = "dependency"
    target: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object from which `fault_from_json` builds an equal value."""
        return {"kind": self.kind, **asdict(self)}

    @property
    def sentence(self) -> str:
        """Say in a few words what this fault does."""
        extra = ", ".join(
            f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.name != "target"
        )
        return f"{self.kind} {self.target}" + (f" ({extra})" if extra else "")


@dataclass(frozen=True, slots=True)
class Refuse(Fault):
    """The dependency's route is down: new connections are refused, open ones closed."""

    kind: ClassVar[str] = "refuse"


@dataclass(frozen=True, slots=True)
class Latency(Fault):
    """Every chunk on the dependency arrives `delay_ms` ± `jitter_ms` later."""

    kind: ClassVar[str] = "latency"
    delay_ms: int = 200
    jitter_ms: int = 0
    direction: Direction = "downstream"

    def __post_init__(self) -> None:
        """Refuse values that Toxiproxy would accept and misread."""
        _within(self, "delay_ms", self.delay_ms, 1, 10_000)
        _within(self, "jitter_ms", self.jitter_ms, 0, self.delay_ms)


@dataclass(frozen=True, slots=True)
class Blackhole(Fault):
    """Connections stay open and nothing passes in `direction`.

    `downstream`: the request arrives and its answer is lost. `upstream`: the request never arrives.
    """

    kind: ClassVar[str] = "blackhole"
    direction: Direction = "both"


@dataclass(frozen=True, slots=True)
class Bandwidth(Fault):
    """At most `rate_kb_per_s` (1 KB is 1,000 bytes) pass on each connection in `direction`."""

    kind: ClassVar[str] = "bandwidth"
    rate_kb_per_s: int = 100
    direction: Direction = "both"

    def __post_init__(self) -> None:
        """Refuse 0: a stall is another fault, a black hole."""
        _within(self, "rate_kb_per_s", self.rate_kb_per_s, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """Each connection is reset `after_ms` after its first data in `direction`, as by a crashing peer."""

    kind: ClassVar[str] = "reset"
    after_ms: int = 0
    direction: Direction = "upstream"

    def __post_init__(self) -> None:
        """Refuse waits that would block the edge's control API, and with it the undo."""
        _within(self, "after_ms", self.after_ms, 0, 1_000)


@dataclass(frozen=True, slots=True)
class LimitBytes(Fault):
    """Each connection is closed when `limit_bytes` have passed on it in `direction`."""

    kind: ClassVar[str] = "limit-bytes"
    limit_bytes: int = 10_000
    direction: Direction = "upstream"

    def __post_init__(self) -> None:
        """Refuse 0: a connection that passes nothing is a black hole."""
        _within(self, "limit_bytes", self.limit_bytes, 1, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class Kill(Fault):
    """The component's processes get SIGKILL and stay down until the heal starts them again."""

    kind: ClassVar[str] = "kill"
    target_kind: ClassVar[TargetKind] = "component"


@dataclass(frozen=True, slots=True)
class Pause(Fault):
    """The component's processes are stopped (SIGSTOP) and keep their sockets."""

    kind: ClassVar[str] = "pause"
    target_kind: ClassVar[TargetKind] = "component"


FAULTS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (Refuse, Latency, Blackhole, Bandwidth, Reset, LimitBytes, Kill, Pause)
}


def fault_from_json(data: dict[str, Any]) -> Fault:
    """Build a fault from `to_json`'s object. Raises `UsageError` on unknown kinds and keys."""
    values = dict(data)
    kind = str(values.pop("kind", ""))
    if kind not in FAULTS:
        raise unknown("fault", kind, FAULTS)
    cls = FAULTS[kind]
    known = {f.name for f in fields(cls)}
    for key in values:
        if key not in known:
            raise unknown("parameter", key, known, where=f" of fault {kind!r}")
    if "target" not in values:
        raise UsageError(f"fault {kind!r} has no target; add target=<{cls.target_kind} name>")
    return cls(**values)


def _within(fault: Fault, name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{fault.kind} {fault.target}: {name}={value}; expected {low} to {high}")
