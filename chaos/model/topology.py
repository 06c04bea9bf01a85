"""Components, the dependencies between them, and the topology they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chaos.errors import UsageError, unknown

ReadinessKind = Literal["tcp", "http", "redis", "postgres", "exit", "log"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """How to tell that a component serves.

    `tcp`, `http`, `redis` and `postgres` ask the container port `port`; `exit` waits for a one-shot process
    to end with 0. `path` belongs to `http`. `within_s` limits the wait.
    """

    kind: ReadinessKind
    port: int = 0
    path: str = "/"
    within_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the system: how it starts, its ports, how to tell that it is ready.

    `command` is the local command with its placeholders unresolved; `prepare` are commands that run before it.
    `files` maps a container path to the host path (relative to the Compose file) mounted there; `data` are the
    container paths of named volumes of its own, `shared` those of another component: (container path, owner, path of
    the owner). `after` names components that must be ready first. `stop_signal` is set
    for a component that must be asked to stop before it is killed; the others are killed outright.
    """

    name: str
    image: str
    command: tuple[str, ...]
    ready: Readiness
    prepare: tuple[tuple[str, ...], ...] = ()
    ports: tuple[int, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    data: tuple[str, ...] = ()
    shared: tuple[tuple[str, str, str], ...] = ()
    after: tuple[str, ...] = ()
    unprivileged: bool = False
    scaled: tuple[tuple[str, float], ...] = ()
    stop_signal: str = ""

    @property
    def one_shot(self) -> bool:
        """Whether this component runs once to its end instead of serving."""
        return self.ready.kind == "exit"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A named edge that always crosses Toxiproxy: what network faults aim at.

    `component` is the Toxiproxy that carries it, `proxy` the proxy's name in that Toxiproxy, `listen_port` the
    container port that callers use, `upstream` the callee's component name and `upstream_port` its port.
    """

    name: str
    component: str
    proxy: str
    listen_port: int
    upstream: str
    upstream_port: int
    api_port: int = 8474


@dataclass(frozen=True, slots=True)
class Topology:
    """Components and dependencies, validated when built. Raises `UsageError` on a dangling or circular name.

    `folder` is the Compose file's folder: the host paths of `Component.files` start there.
    """

    name: str
    components: tuple[Component, ...]
    dependencies: tuple[Dependency, ...] = ()
    digest: str = ""
    folder: str = "."
    _index: dict[str, Component] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that every name leads somewhere and that the start order exists."""
        for part in self.components:
            if part.name in self._index:
                raise UsageError(f"component {part.name!r} stands twice; expected one of each name")
            self._index[part.name] = part
        for part in self.components:
            for other in part.after:
                if other not in self._index:
                    raise unknown(
                        "component", other, self._index, where=f" that {part.name!r} waits for"
                    )
        for edge in self.dependencies:
            for name in (edge.component, edge.upstream):
                if name not in self._index:
                    raise unknown(
                        "component", name, self._index, where=f" on dependency {edge.name!r}"
                    )
        self.start_order()

    def component(self, name: str) -> Component:
        """Return the component called `name`, or raise `UsageError` with the nearest name."""
        if name not in self._index:
            raise unknown("component", name, self._index)
        return self._index[name]

    def dependency(self, name: str) -> Dependency:
        """Return the dependency called `name`, or raise `UsageError` with the nearest name."""
        for edge in self.dependencies:
            if edge.name == name:
                return edge
        raise unknown("dependency", name, (edge.name for edge in self.dependencies))

    def start_order(self) -> tuple[tuple[str, ...], ...]:
        """Group component names into waves; each wave needs only the waves before it."""
        waves: list[tuple[str, ...]] = []
        done: set[str] = set()
        while len(done) < len(self.components):
            wave = tuple(
                p.name for p in self.components if p.name not in done and done.issuperset(p.after)
            )
            if not wave:
                stuck = ", ".join(sorted(p.name for p in self.components if p.name not in done))
                raise UsageError(
                    f"components wait for each other in a circle: {stuck}; cut one depends_on"
                )
            waves.append(wave)
            done.update(wave)
        return tuple(waves)
