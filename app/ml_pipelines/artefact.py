"""The trained model on disk: written so that a reader never sees half of it, and doubted when it is read.

A folder holds, for each version, `recommendations-VERSION.npz` (arrays) and `recommendations-VERSION.json` (metadata),
and `recommendations.json`, which says which version is deployed and which was the last good one. Every file is written
beside its place, synced and renamed. The checksum covers the arrays and the ids of the items, so that neither can be
exchanged alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

NAME = "recommendations"
FORMAT = 1
MAX_ARRAYS_BYTES = 64 * 1024 * 1024
MAX_METADATA_BYTES = 4 * 1024 * 1024
MAX_AGE = timedelta(days=30)
# Clocks of two machines differ a little; a model of next week is a mistake.
CLOCK_SKEW = timedelta(minutes=5)

_VERSION = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_ITEM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEYS = frozenset(
    {"format", "name", "version", "created_at", "items", "sha256", "bytes", "figures"}
)


class Fault(StrEnum):
    """Why an artefact is refused."""

    MISSING = "missing"
    METADATA = "metadata"
    TRUNCATED = "truncated"
    CHECKSUM = "checksum"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    SHAPE = "shape"
    NOT_FINITE = "not_finite"
    STALE = "stale"


class ArtefactError(Exception):
    """An artefact cannot be believed; `fault` says why."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Model:
    """Item-to-item weights (items by items), and for those without a past how many watched each item (0 to 1)."""

    version: str
    created_at: datetime
    items: tuple[str, ...]
    weights: Floats
    popularity: Floats
    figures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        items: tuple[str, ...],
        weights: Floats,
        popularity: Floats,
        created_at: datetime,
        figures: Mapping[str, float],
    ) -> Model:
        """Return a model whose version is derived from what it holds: the same training makes the same version."""
        version = _checksum(_arrays(weights, popularity), items)[:12]
        return cls(version, created_at, items, weights, popularity, dict(figures))

    @cached_property
    def index(self) -> dict[str, int]:
        """Return each item's place."""
        return {item: n for n, item in enumerate(self.items)}


@dataclass(frozen=True, slots=True)
class Deployed:
    """Which version is served, and which one is known to be good."""

    version: str
    last_good: str | None


def write(folder: Path, model: Model) -> None:
    """Write a version without deploying it, whatever is wrong with it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _arrays(model.weights, model.popularity)
    metadata = {
        "format": FORMAT,
        "name": NAME,
        "version": model.version,
        "created_at": model.created_at.isoformat(),
        "items": list(model.items),
        "sha256": _checksum(arrays, model.items),
        "bytes": len(arrays),
        "figures": model.figures,
    }
    replace(arrays_path(folder, model.version), arrays)
    text = json.dumps(metadata, indent=1, sort_keys=True)
    replace(metadata_path(folder, model.version), text.encode() + b"\n")


def deploy(folder: Path, version: str, *, good: bool) -> None:
    """Make `version` the one that a server loads next; `good` makes it the one to come back to. Raises OSError."""
    last_good: str | None = version
    if not good:
        try:
            last_good = deployed(folder).last_good
        except ArtefactError:
            last_good = None
    text = json.dumps({"version": version, "last_good": last_good}, sort_keys=True)
    replace(folder / f"{NAME}.json", text.encode() + b"\n")


def deployed(folder: Path) -> Deployed:
    """Return which version is deployed. Raises ArtefactError."""
    content = _json(_bytes(folder / f"{NAME}.json", MAX_METADATA_BYTES))
    version, last_good = content.get("version"), content.get("last_good")
    if set(content) != {"version", "last_good"} or not _is_version(version):
        raise ArtefactError(Fault.METADATA, f"{NAME}.json must hold version and last_good alone")
    if last_good is not None and not _is_version(last_good):
        raise ArtefactError(Fault.METADATA, f"{NAME}.json: last_good is no version")
    return Deployed(version, last_good)


def load(
    folder: Path, *, now: datetime, max_age: timedelta = MAX_AGE, verify: bool = True
) -> Model:
    """Return the deployed model. Raises ArtefactError.

    Without `verify` all is believed that can be read at all, as by a server whose checks were switched off.
    """
    version = deployed(folder).version
    metadata = _metadata(folder, version)
    arrays = _bytes(arrays_path(folder, version), MAX_ARRAYS_BYTES)
    if verify:
        _check_bytes(metadata, arrays)
    weights, popularity = _read_arrays(arrays)
    model = Model(
        version=version,
        created_at=metadata["created_at"],
        items=tuple(metadata["items"]),
        weights=weights,
        popularity=popularity,
        figures=metadata["figures"],
    )
    if verify:
        _check(model, now, max_age)
    return model


def arrays_path(folder: Path, version: str) -> Path:
    """Return where the arrays of a version are."""
    return folder / f"{NAME}-{version}.npz"


def metadata_path(folder: Path, version: str) -> Path:
    """Return where the metadata of a version is."""
    return folder / f"{NAME}-{version}.json"


def replace(path: Path, content: bytes) -> None:
    """Give a file this content, all of it or none, also when the machine stops in between. Raises OSError."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        # What trains and what serves may be different users of one volume.
        os.chmod(beside, 0o644)  # noqa: PTH101 - the name came from mkstemp, as text
        os.replace(beside, path)  # noqa: PTH105 - same
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)  # noqa: PTH108 - same
        raise


def _arrays(weights: Floats, popularity: Floats) -> bytes:
    """Return both as .npz. Its entries carry no time, so the same arrays are the same bytes."""
    out = io.BytesIO()
    np.savez(out, weights=weights, popularity=popularity)
    return out.getvalue()


def _checksum(arrays: bytes, items: tuple[str, ...] | list[str]) -> str:
    return hashlib.sha256(arrays + "\n".join(items).encode()).hexdigest()


def _bytes(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ArtefactError(
            Fault.MISSING,
            f"{path.name}: {error.strerror}; run python -m app.ml_pipelines.training --out {path.parent.name}",
        ) from None
    if len(content) > limit:
        raise ArtefactError(Fault.METADATA, f"{path.name} has more than {limit} bytes")
    return content


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ArtefactError(Fault.METADATA, "the metadata is no JSON") from None
    if not isinstance(value, dict):
        raise ArtefactError(Fault.METADATA, "the metadata is no object")
    return value


def _metadata(folder: Path, version: str) -> dict[str, Any]:
    """Return the metadata with `created_at` as a time."""
    content = _json(_bytes(metadata_path(folder, version), MAX_METADATA_BYTES))
    if set(content) != _KEYS:
        raise ArtefactError(Fault.METADATA, f"the metadata must have the keys {sorted(_KEYS)}")
    items, figures = content["items"], content["figures"]
    try:
        content["created_at"] = datetime.fromisoformat(content["created_at"])
    except (TypeError, ValueError):
        raise ArtefactError(Fault.METADATA, "created_at is no time") from None
    sound = (
        (content["format"], content["name"], content["version"]) == (FORMAT, NAME, version)
        and content["created_at"].tzinfo is not None
        and isinstance(items, list)
        and all(isinstance(item, str) and _ITEM.fullmatch(item) for item in items)
        and len(set(items)) == len(items)
        and isinstance(content["sha256"], str)
        and isinstance(content["bytes"], int)
        and isinstance(figures, dict)
        and all(isinstance(value, int | float) for value in figures.values())
    )
    if not sound:
        raise ArtefactError(Fault.METADATA, f"the metadata does not describe version {version}")
    return content


def _check_bytes(metadata: dict[str, Any], arrays: bytes) -> None:
    if len(arrays) < metadata["bytes"]:
        raise ArtefactError(
            Fault.TRUNCATED, f"{len(arrays)} bytes of arrays, expected {metadata['bytes']}"
        )
    if _checksum(arrays, metadata["items"]) != metadata["sha256"]:
        raise ArtefactError(Fault.CHECKSUM, "arrays and items are not those of the checksum")


def _read_arrays(content: bytes) -> tuple[Floats, Floats]:
    try:
        # What is compressed could grow to any size.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        # Pickles could run code.
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            read = [arrays[name] for name in ("weights", "popularity") if total <= MAX_ARRAYS_BYTES]
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ArtefactError(
            Fault.UNREADABLE, f"the arrays cannot be read ({type(error).__name__})"
        ) from None
    # An entry that is no array comes back as its bytes.
    if not read or any(getattr(array, "dtype", None) != np.float32 for array in read):
        raise ArtefactError(
            Fault.UNREADABLE,
            f"the arrays must be of 32-bit floats and have at most {MAX_ARRAYS_BYTES} bytes",
        )
    weights, popularity = read
    return weights, popularity


def _check(model: Model, now: datetime, max_age: timedelta) -> None:
    count = len(model.items)
    if not count:
        raise ArtefactError(Fault.EMPTY, "the model knows no item")
    if model.weights.shape != (count, count) or model.popularity.shape != (count,):
        raise ArtefactError(
            Fault.SHAPE,
            f"weights of shape {model.weights.shape} and popularity of {model.popularity.shape} for {count} items",
        )
    if not (np.isfinite(model.weights).all() and np.isfinite(model.popularity).all()):
        raise ArtefactError(Fault.NOT_FINITE, "the model holds values that are no finite numbers")
    if model.created_at > now + CLOCK_SKEW:
        raise ArtefactError(Fault.METADATA, "the model was created in the future")
    if now - model.created_at > max_age:
        raise ArtefactError(
            Fault.STALE,
            f"the model is {(now - model.created_at).days} days old, allowed are {max_age.days}; train it anew",
        )


def _is_version(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _VERSION.fullmatch(value) is not None
