"""Turning a `Component` into what is really started: arguments, environment, files and data folders."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.errors import unknown
from chaos.runtime import placeholders
from chaos.runtime.proctree import MARKER
from chaos.runtime.unprivileged import SHARED_FOLDER, can_enter, reachable_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.model.topology import Component, Topology
    from chaos.runtime.addresses import AddressBook

_INHERITED: Final = ("PATH", "TMPDIR", "LANG", "TZ")
_TRAVERSABLE: Final = 0o711
_PRIVATE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Launch:
    """All that starting a component takes. `tools` are the programs that its commands name."""

    command: tuple[str, ...]
    prepare: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str]
    declared: Mapping[str, str]
    cwd: Path
    log: Path
    data: Mapping[str, Path]
    tools: tuple[Path, ...]
    uid: int | None


@dataclass(frozen=True, slots=True)
class Renderer:
    """Knows one stack's places: the repository, its folder, its ports, its time scale.

    `render` gets (component, container path, text) of each mounted file and returns the text to use;
    `tool` finds a program by name; `uid` is for unprivileged components, None when the runner is not root.
    """

    topology: Topology
    root: Path
    folder: Path
    book: AddressBook
    time_scale: float
    tool: Callable[[str], Path]
    uid: int | None
    render: Callable[[str, str, str], str] | None = None

    def log_path(self, name: str) -> Path:
        """Return the file that holds a component's output."""
        return self.folder / "logs" / f"{name}.log"

    def data_folder(self, part: Component) -> Path:
        """Return the folder that holds a component's volumes."""
        if self._uid(part) is not None and not can_enter(self.folder):
            return SHARED_FOLDER / f"chaosbed-{self.folder.name}-{part.name}"
        return self.folder / "data" / part.name

    def data(self, part: Component) -> dict[str, Path]:
        """Return the host folder of each volume of a component, by container path; of shared ones the owner's."""
        shared = {
            path: self._own_data(self.topology.component(owner))[owners]
            for path, owner, owners in part.shared
        }
        return self._own_data(part) | shared

    def _own_data(self, part: Component) -> dict[str, Path]:
        home = self.data_folder(part)
        return {path: home / path.strip("/").replace("/", "_") for path in part.data}

    def make_data(self, part: Component, *, wipe: bool) -> bool:
        """Make a component's volume folders; True when they are fresh (just made, or wiped)."""
        home = self.data_folder(part)
        if wipe and home.exists():
            shutil.rmtree(home)
        if home.exists():
            return False
        home.parent.mkdir(mode=_TRAVERSABLE, parents=True, exist_ok=True)
        uid = self._uid(part)
        for folder in (home, *self._own_data(part).values()):
            folder.mkdir(mode=_PRIVATE)
            if uid is not None:
                os.chown(folder, uid, uid)
        return True

    def write_files(self, part: Component, overrides: Mapping[str, str]) -> None:
        """Write the local copy of every mounted file; `overrides` (container path -> text) win."""
        for target, source in part.files:
            host = (Path(self.topology.folder) / source).resolve()
            if host.is_dir():
                for file in sorted(host.rglob("*")):
                    if file.is_file():
                        inner = file.relative_to(host).as_posix()
                        self._write_file(part, f"{target}/{inner}", file)
            else:
                self._write_file(part, target, host)
        for target, text in overrides.items():
            self._check_mounted(part, target)
            copy = self._file_path(part, target)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(self.book.rewrite(text, own=part.name), encoding="utf-8")

    def launch(self, part: Component, overrides: Mapping[str, str]) -> Launch:
        """Resolve commands and environment; `overrides` (name -> value) win over the topology's."""
        uid = self._uid(part)
        data = self.data(part)
        tools: list[Path] = []

        def tool(name: str) -> str:
            program = self.tool(name)
            program = program if uid is None else reachable_program(program)
            tools.append(program)
            return str(program)

        ports = self.book.ports
        resolvers: dict[str, Callable[[str], str]] = {
            "port": lambda port: str(ports[part.name, int(port)]),
            "python": lambda _: sys.executable,
            "root": lambda _: str(self.root),
            "tool": tool,
            "file": lambda path: str(self._file_path(part, path)),
            "data": lambda path: str(data[path]),
            "scaled": lambda text: placeholders.scaled_duration(text, self.time_scale),
        }

        def resolve(text: str) -> str:
            return self.book.rewrite(placeholders.resolve(text, resolvers), own=part.name)

        declared = {name: resolve(value) for name, value in part.environment} | {
            name: self.book.rewrite(value, own=part.name) for name, value in overrides.items()
        }
        for name, floor in part.scaled:
            declared[name] = f"{max(float(declared[name]) / self.time_scale, floor):g}"
        return Launch(
            command=tuple(resolve(word) for word in part.command),
            prepare=tuple(tuple(resolve(word) for word in line) for line in part.prepare),
            environment=self._surroundings(part) | declared,
            declared=declared,
            # Another user may not be allowed to pass through the repository's parents.
            cwd=self.root if uid is None else self.data_folder(part),
            log=self.log_path(part.name),
            data=data,
            tools=tuple(tools),
            uid=uid,
        )

    def _surroundings(self, part: Component) -> dict[str, str]:
        """Return what every process needs, and nothing else of the runner's environment."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {
            **inherited,
            "HOME": str(self.data_folder(part)),
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            MARKER: f"{self.folder.name}/{part.name}",
        }

    def _write_file(self, part: Component, target: str, source: Path) -> None:
        copy = self._file_path(part, target)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = source.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            copy.write_bytes(content)
            return
        text = self.book.rewrite(text, own=part.name)
        if self.render is not None:
            text = self.render(part.name, target, text)
        copy.write_text(text, encoding="utf-8")

    def _check_mounted(self, part: Component, target: str) -> None:
        mounted = dict(part.files)
        base = Path(self.topology.folder)
        for path, source in mounted.items():
            inside = target.startswith(f"{path}/") and ".." not in Path(target).parts
            if target == path or (inside and (base / source).is_dir()):
                return
        raise unknown("mounted file", target, mounted, where=f" of component {part.name!r}")

    def _file_path(self, part: Component, target: str) -> Path:
        return self.folder / "files" / part.name / target.strip("/")

    def _uid(self, part: Component) -> int | None:
        return self.uid if part.unprivileged else None
