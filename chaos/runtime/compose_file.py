"""`compose/compose.yaml`, read strictly, as a validated `Topology`.

The file is an ordinary Compose file. A service with an `x-local` block becomes a component of the local
runtime; a service without one belongs to Compose alone. Everything that can be wrong is found here, before
anything starts, as a `UsageError` of one line.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from chaos.errors import UsageError, unknown
from chaos.model.topology import Component, Readiness, Topology
from chaos.runtime import placeholders
from chaos.runtime.addresses import LOOPBACK, references
from chaos.runtime.compose_schema import ComposeFile, LocalBlock, ServiceBlock, read_as
from chaos.runtime.edges import is_edge, read_edge
from chaos.runtime.interpolation import interpolate

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from pathlib import Path

SERVES_WITHIN_S: Final = 15.0
ENDS_WITHIN_S: Final = 60.0


def load_topology(path: Path, *, environ: Mapping[str, str] | None = None) -> Topology:
    """Read the Compose file at `path` and every file that it mounts.

    `environ` fills its variables (default: this process's environment). The digest is the SHA-256 of the
    file and of its route files. Raises `UsageError` with the place, the value and what was expected.
    """
    text = _read_text(path)
    parsed = _parse(text, path)
    try:
        raw = interpolate(parsed, os.environ if environ is None else environ, where="")
        return _Reader(path, raw).topology(text)
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _parse(text: str, path: Path) -> object:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise UsageError(f"{path.name}: line {line}: {error.problem}; expected YAML") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path.name}: {' '.join(str(error).split())}; expected YAML") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {reason}; expected a Compose file") from None


@dataclass(frozen=True, slots=True)
class _Mounts:
    """What a service mounts: host files by container path, every file below them, named volumes."""

    files: dict[str, str]
    contents: tuple[str, ...]
    volumes: dict[str, str]
    shared: dict[str, tuple[str, str]]
    """Of those, by container path, which belong to another service: its name and its path."""


class _Reader:
    """The checks that need more than one service at a time."""

    def __init__(self, path: Path, raw: object) -> None:
        self.folder = path.resolve().parent
        if not isinstance(raw, dict):
            raise UsageError(
                f"{type(raw).__name__} at the top; expected a mapping with name and services"
            )
        plain = {key: value for key, value in raw.items() if not str(key).startswith("x-")}
        self.file = read_as(ComposeFile, plain, where="")
        blocks = {
            name: read_as(ServiceBlock, block, where=f"services.{name}")
            for name, block in self.file.services.items()
        }
        self.services = blocks
        self.local: dict[str, tuple[ServiceBlock, LocalBlock]] = {
            name: (block, block.local) for name, block in blocks.items() if block.local is not None
        }
        self.ports = {name: self._ports(name, *pair) for name, pair in self.local.items()}
        self.volume_owner: dict[str, tuple[str, str]] = {}

    def topology(self, text: str) -> Topology:
        """Build the value; raise `UsageError` on the first thing wrong."""
        if not self.local:
            raise UsageError(
                "no service has an x-local block; expected at least one that runs locally"
            )
        components = tuple(self._component(name, *pair) for name, pair in self.local.items())
        edges = [part for part in components if is_edge(part.name)]
        digest = hashlib.sha256(text.encode())
        dependencies = []
        for part in edges:
            edge, route_text = read_edge(part, self.folder, self.ports)
            dependencies.append(edge)
            digest.update(f"\0{edge.name}\0{route_text}".encode())
        return Topology(
            name=self.file.name,
            components=components,
            dependencies=tuple(dependencies),
            digest=digest.hexdigest(),
            folder=str(self.folder),
        )

    def _component(self, name: str, service: ServiceBlock, local: LocalBlock) -> Component:
        where = f"services.{name}"
        if not service.image:
            raise UsageError(f"{where}: no image; expected one, also for a service that is built")
        mounts = self._mounts(name, service)
        ready = local.ready
        port = 0 if ready.kind == "exit" else getattr(ready, ready.kind)
        limit_s = ready.within_s or (ENDS_WITHIN_S if ready.kind == "exit" else SERVES_WITHIN_S)
        self._check_texts(name, local, mounts)
        environment = service.environment | local.environment
        for variable in local.scaled:
            self._check_scaled(f"{where}.x-local.scaled", variable, environment)
        return Component(
            name=name,
            image=service.image,
            command=local.command,
            ready=Readiness(kind=ready.kind, port=port, path=ready.path, within_s=limit_s),
            prepare=local.prepare,
            ports=self.ports[name],
            environment=tuple(environment.items()),
            files=tuple(mounts.files.items()),
            data=tuple(path for path in mounts.volumes if path not in mounts.shared),
            shared=tuple((path, *owner) for path, owner in mounts.shared.items()),
            after=self._after(name, service),
            unprivileged=local.unprivileged,
            scaled=tuple(local.scaled.items()),
            stop_signal=service.stop_signal,
        )

    def _ports(self, name: str, service: ServiceBlock, local: LocalBlock) -> tuple[int, ...]:
        found = []
        for text in service.ports:
            host, _, container = text.rpartition(":")
            where = f"services.{name}.ports"
            if not host.startswith(f"{LOOPBACK}:"):
                raise UsageError(
                    f"{where}: {text!r} would listen beyond this machine; expected '{LOOPBACK}:PORT:PORT'"
                )
            _port(host.removeprefix(f"{LOOPBACK}:"), where=where)
            found.append(_port(container, where=where))
        found += [_port(text, where=f"services.{name}.expose") for text in service.expose]
        kind = local.ready.kind
        asked = None if kind == "exit" else getattr(local.ready, kind)
        if asked is not None and asked not in found:
            raise UsageError(
                f"services.{name}.x-local.ready: port {asked} is not a port of the service; "
                f"add it to ports or expose (has {', '.join(map(str, found)) or 'none'})"
            )
        return tuple(dict.fromkeys(found))

    def _after(self, name: str, service: ServiceBlock) -> tuple[str, ...]:
        for other, needed in service.depends_on.items():
            where = f" in services.{name}.depends_on"
            if other not in self.services:
                raise unknown("service", other, self.services, where=where)
            if other not in self.local:
                raise UsageError(
                    f"service {other!r}{where} has no x-local block; add one or cut the line"
                )
            one_shot = self.local[other][1].ready.kind == "exit"
            if one_shot != (needed.condition == "service_completed_successfully"):
                expected = "service_completed_successfully" if one_shot else "service_healthy"
                raise UsageError(
                    f"services.{name}.depends_on.{other}: {needed.condition!r} never comes true for it; "
                    f"expected {expected}"
                )
        return tuple(service.depends_on)

    def _mounts(self, name: str, service: ServiceBlock) -> _Mounts:
        files: dict[str, str] = {}
        contents: list[str] = []
        volumes: dict[str, str] = {}
        shared: dict[str, tuple[str, str]] = {}
        for text in service.volumes:
            where = f"services.{name}.volumes"
            source, _, rest = text.partition(":")
            target, _, mode = rest.partition(":")
            if not source or not target.startswith("/") or mode not in {"", "ro", "rw"}:
                raise UsageError(f"{where}: {text!r}; expected './file:/path:ro' or 'volume:/path'")
            if source.startswith("."):
                files[target] = source
                contents += self._contents(source, target, where)
                continue
            if source not in self.file.volumes:
                raise unknown("volume", source, self.file.volumes, where=f" in {where}")
            owner = self.volume_owner.setdefault(source, (name, target))
            if owner[0] != name:
                self._check_shared(name, service, owner[0], source)
                shared[target] = owner
            volumes[target] = source
        return _Mounts(files, tuple(contents), volumes, shared)

    def _check_shared(self, name: str, service: ServiceBlock, owner: str, volume: str) -> None:
        """Refuse what the local runtime cannot share: a folder of another user, or one that is not there yet."""
        where = f"services.{name}.volumes: volume {volume!r} belongs to {owner!r}"
        if owner not in service.depends_on:
            raise UsageError(f"{where}; add {owner!r} to depends_on, which makes its folder")
        for _, local in (self.local[name], self.local[owner]):
            if local.unprivileged or local.prepare:
                raise UsageError(
                    f"{where}; the local runtime shares none of a service that is unprivileged or has "
                    "prepare commands, give each its own"
                )

    def _contents(self, source: str, target: str, where: str) -> Iterator[str]:
        host = (self.folder / source).resolve()
        if not host.is_relative_to(self.folder):
            raise UsageError(
                f"{where}: {source!r} lies outside {self.folder}; expected a file below it"
            )
        if host.is_file():
            yield target
        elif host.is_dir():
            for file in sorted(host.rglob("*")):
                if file.is_file():
                    yield f"{target}/{file.relative_to(host).as_posix()}"
        else:
            raise UsageError(f"{where}: {source!r} does not exist in {self.folder}; create it")

    def _check_texts(self, name: str, local: LocalBlock, mounts: _Mounts) -> None:
        """Check every placeholder and every `name:port` that the local runtime will have to resolve."""
        base, plain = f"services.{name}", self.services[name].environment
        texts = {
            f"{base}.x-local.environment.{key}": value for key, value in local.environment.items()
        }
        lines = [local.command, *local.prepare]
        texts |= {
            f"{base}.x-local {' '.join(line)[:40]!r}[{index}]": word
            for line in lines
            for index, word in enumerate(line)
        }
        for where, text in texts.items():
            placeholders.check(
                text,
                where=where,
                ports=self.ports[name],
                files=mounts.contents,
                data=tuple(mounts.volumes),
            )
        for key, value in plain.items():
            where = f"{base}.environment.{key}"
            if found := placeholders.first_in(value):
                raise UsageError(
                    f"{where}: Compose would keep {found!r}; move it to x-local.environment"
                )
            texts[where] = value
        for where, text in texts.items():
            self._check_references(where, text, own=name)

    def _check_references(self, where: str, text: str, *, own: str) -> None:
        for other, port in references(text, self.local, own=own):
            if port not in self.ports[other]:
                known = ", ".join(map(str, self.ports[other])) or "none"
                raise UsageError(f"{where}: {other!r} has no port {port}; known: {known}")

    @staticmethod
    def _check_scaled(where: str, variable: str, environment: Mapping[str, str]) -> None:
        if variable not in environment:
            raise unknown("variable", variable, environment, where=f" in {where}")
        try:
            float(environment[variable])
        except ValueError:
            raise UsageError(
                f"{where}.{variable}: {environment[variable]!r} cannot be scaled; expected seconds"
            ) from None


def _port(text: str, *, where: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - what a port is
        raise UsageError(f"{where}: {text!r} is no port; expected 1 to 65535")
    return int(text)
