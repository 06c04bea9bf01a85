"""Deploys a bad model, as a deployment that went wrong would: `python -m app.ml_pipelines.bad KIND --dir DIR`.

Metadata and checksum are right in each of them but `truncated`: the training went wrong, not the copying. `restore`
deploys the last good version again. A server takes notice when it is told to load (`--server URL` does that at once)
or when it starts; unless it was started with `--no-verify` it refuses the bad one and keeps what it has.
"""

from __future__ import annotations

import argparse
import os
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.ml_pipelines.artefact import (
    NAME,
    ArtefactError,
    Fault,
    Model,
    arrays_path,
    deploy,
    deployed,
    load,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

RELOAD_TIMEOUT_S = 5.0
STALE_BY = timedelta(days=400)
# Fewer than anybody asks for.
COLUMNS_LEFT = 3


class Bad(StrEnum):
    """What is wrong with a model."""

    NAN = "nan"
    SHAPE = "shape"
    STALE = "stale"
    TRUNCATED = "truncated"
    EMPTY = "empty"


def spoil(model: Model, kind: Bad) -> Model:
    """Return the model with the fault, under a version of its own."""
    changed = replace(model, version=f"bad-{kind}")
    match kind:
        case Bad.NAN:
            nothing = np.float32(np.nan)
            return replace(
                changed,
                weights=np.full_like(model.weights, nothing),
                popularity=np.full_like(model.popularity, nothing),
            )
        case Bad.SHAPE:
            return replace(
                changed,
                weights=model.weights[:, :COLUMNS_LEFT],
                popularity=model.popularity[:COLUMNS_LEFT],
            )
        case Bad.STALE:
            return replace(changed, created_at=model.created_at - STALE_BY)
        case Bad.EMPTY:
            return replace(
                changed,
                items=(),
                weights=np.zeros((0, 0), np.float32),
                popularity=np.zeros(0, np.float32),
            )
        case Bad.TRUNCATED:
            return changed


def deploy_bad(folder: Path, kind: Bad) -> str:
    """Spoil the last good model and deploy it; return its version. Raises ArtefactError or OSError."""
    restore(folder)
    bad = spoil(load(folder, now=datetime.now(UTC)), kind)
    write(folder, bad)
    if kind is Bad.TRUNCATED:
        path = arrays_path(folder, bad.version)
        os.truncate(path, path.stat().st_size // 2)
    deploy(folder, bad.version, good=False)
    return bad.version


def restore(folder: Path) -> str:
    """Deploy the last good version again; return it. Raises ArtefactError or OSError."""
    good = deployed(folder).last_good
    if good is None:
        raise ArtefactError(Fault.MISSING, "no good version is known; train one")
    deploy(folder, good, good=True)
    return good


def tell(server: str) -> int:
    """Tell a server to load what is deployed; return the status of its answer. Raises OSError."""
    url = f"{server.rstrip('/')}/v2/repository/models/{NAME}/load"
    if not url.startswith(("http://", "https://")):
        raise OSError(22, "an address must begin with http:// or https://")
    request = urllib.request.Request(url, data=b"", method="POST")  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=RELOAD_TIMEOUT_S) as answer:  # noqa: S310 - checked above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.ml_pipelines.bad", description=__doc__)
    parser.add_argument("kind", choices=[*Bad, "restore"])
    default = os.environ.get("MODEL_DIR")
    parser.add_argument("--dir", default=default, required=default is None, help="or MODEL_DIR")
    parser.add_argument("--server", help="tell this server to load it, e.g. http://127.0.0.1:8700")
    given = parser.parse_args(arguments)
    try:
        folder, kind = Path(given.dir), given.kind
        version = restore(folder) if kind == "restore" else deploy_bad(folder, Bad(kind))
        told = f", server answered {tell(given.server)}" if given.server else ""
    except (ArtefactError, OSError) as error:
        sys.stderr.write(f"{given.kind}: {error}\n")
        return 2
    sys.stdout.write(f"deployed {version}{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
