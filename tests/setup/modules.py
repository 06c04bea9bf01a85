"""A Go module proxy in a folder, so that builds are tested on the real Go without a network."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "v1.0.0"
ANSWERS = 'package main\n\nfunc main() { println("here") }\n'
FAILS_WHEN_RUN = 'package main\n\nfunc main() { panic("no") }\n'
DOES_NOT_COMPILE = "package main\n\nfunc main() { absent() }\n"


def publish(proxy: Path, name: str, source: str) -> str:
    """Put the module `example.test/<name>` with one program into the proxy and return its path."""
    module = f"example.test/{name}"
    folder = proxy / module / "@v"
    folder.mkdir(parents=True)
    described = f"module {module}\n\ngo 1.21\n"
    (folder / "list").write_text(f"{VERSION}\n")
    (folder / f"{VERSION}.info").write_text(
        json.dumps({"Version": VERSION, "Time": "2026-01-01T00:00:00Z"})
    )
    (folder / f"{VERSION}.mod").write_text(described)
    with zipfile.ZipFile(folder / f"{VERSION}.zip", "w") as packed:
        packed.writestr(f"{module}@{VERSION}/go.mod", described)
        packed.writestr(f"{module}@{VERSION}/main.go", source)
    return module


def write_pins(path: Path, *modules: str) -> Path:
    """Write a `tools.toml` that pins the modules; each binary is linked as `<name>-server`."""
    tables = []
    for module in modules:
        name = module.rpartition("/")[2]
        tables.append(
            f'[{name}]\nmodule = "{module}"\nversion = "{VERSION}"\npackages = ["."]\n'
            f'binaries = {{ {name} = "{name}-server" }}\nverify = ["--version"]\n'
        )
    path.write_text("\n".join(tables))
    return path
