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
class Kill(Fault):
    """The component's processes get SIGKILL and stay down until the heal starts them again."""

    kind: ClassVar[str] = "kill"
    target_kind: ClassVar[TargetKind] = "component"


@dataclass(frozen=True, slots=True)
class Pause(Fault):
    """The component's processes are stopped (SIGSTOP) and keep their sockets."""

    kind: ClassVar[str] = "pause"
    target_kind: ClassVar[TargetKind] = "component"


FAULTS: dict[str, type[Fault]] = {f.kind: f for f in (Refuse, Latency, Blackhole, Kill, Pause)}


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
