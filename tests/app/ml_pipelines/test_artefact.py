"""An artefact is believed only when nothing speaks against it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.ml_pipelines.artefact import (
    ArtefactError,
    Fault,
    arrays_path,
    deploy,
    deployed,
    load,
    metadata_path,
    replace,
    write,
)
from app.ml_pipelines.bad import Bad, deploy_bad, restore
from app.ml_pipelines.bad import main as bad_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.ml_pipelines.artefact import Model


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def fault_of(folder: Path, **how: Any) -> Fault:
    """Return why the deployed model is refused."""
    with pytest.raises(ArtefactError) as caught:
        load(folder, now=how.pop("now", now()), **how)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.fault


def test_comes_back_as_it_was(artefacts: Path, model: Model) -> None:
    """What was written is read: items, numbers, time and figures."""
    read = load(artefacts, now=now())

    assert (read.version, read.created_at, read.items, read.figures) == (
        *(model.version, model.created_at, model.items, model.figures),
    )
    assert np.array_equal(read.weights, model.weights)
    assert np.array_equal(read.popularity, model.popularity)
    assert not [path for path in artefacts.iterdir() if path.name.startswith(".")]


def test_metadata_says_what_it_is(artefacts: Path, model: Model) -> None:
    """The metadata names version, time, ids, checksum and figures, for people and other tools."""
    metadata = json.loads(metadata_path(artefacts, model.version).read_text())

    assert metadata["version"] == model.version
    assert datetime.fromisoformat(metadata["created_at"]) == model.created_at
    assert metadata["items"] == list(model.items)
    assert len(metadata["sha256"]) == 64
    assert metadata["figures"]["hit_at_10"] > metadata["figures"]["popularity_hit_at_10"]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Bad.NAN, Fault.NOT_FINITE),
        (Bad.SHAPE, Fault.SHAPE),
        (Bad.STALE, Fault.STALE),
        (Bad.TRUNCATED, Fault.TRUNCATED),
        (Bad.EMPTY, Fault.EMPTY),
    ],
)
def test_bad_deployments_are_refused(
    artefacts: Path, model: Model, kind: Bad, fault: Fault
) -> None:
    """Each kind of bad model is refused for its own reason; the last good one comes back whole."""
    assert deploy_bad(artefacts, kind) == f"bad-{kind}" == deployed(artefacts).version
    assert fault_of(artefacts) is fault
    assert deployed(artefacts).last_good == model.version

    assert restore(artefacts) == model.version
    assert load(artefacts, now=now()).version == model.version


def test_bad_after_bad_is_made_from_the_good_one(artefacts: Path) -> None:
    """Bad deployments do not pile up: the second has its own fault alone."""
    deploy_bad(artefacts, Bad.EMPTY)
    deploy_bad(artefacts, Bad.STALE)

    assert fault_of(artefacts) is Fault.STALE


@pytest.mark.parametrize("kind", sorted(set(Bad) - {Bad.TRUNCATED}))
def test_without_checks_all_but_half_a_file_is_loaded(artefacts: Path, kind: Bad) -> None:
    """A server that does not verify serves it: clients must find out."""
    deploy_bad(artefacts, kind)

    assert load(artefacts, now=now(), verify=False).version == f"bad-{kind}"


def test_half_a_file_is_never_loaded(artefacts: Path) -> None:
    """Without checks it is refused for what it is."""
    deploy_bad(artefacts, Bad.TRUNCATED)

    assert fault_of(artefacts, verify=False) is Fault.UNREADABLE


def flip(content: bytes) -> bytes:
    """Return the content with one bit changed, in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def changed(**changes: object) -> Callable[[bytes], bytes]:
    """Return what changes keys of the metadata."""
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda _: b"", Fault.METADATA),
        (lambda content: content[:100], Fault.METADATA),
        (lambda _: b"[" * 100_000, Fault.METADATA),
        (lambda _: b"[]", Fault.METADATA),
        (lambda _: b" " * (4 * 1024 * 1024 + 1), Fault.METADATA),
        (changed(extra=1), Fault.METADATA),
        (changed(version="other"), Fault.METADATA),
        (changed(format=2), Fault.METADATA),
        (changed(created_at="yesterday"), Fault.METADATA),
        (changed(created_at=7), Fault.METADATA),
        (changed(created_at="2026-01-01T00:00:00"), Fault.METADATA),
        (changed(created_at="2999-01-01T00:00:00+00:00"), Fault.METADATA),
        (changed(items="abc"), Fault.METADATA),
        (changed(items=["a", "a"]), Fault.METADATA),
        (changed(items=["../a"]), Fault.METADATA),
        (changed(items=["a"]), Fault.CHECKSUM),
        (changed(sha256="0" * 64), Fault.CHECKSUM),
        (changed(bytes=10**9), Fault.TRUNCATED),
    ],
)
def test_wrong_metadata_is_refused(
    artefacts: Path, model: Model, change: Callable[[bytes], bytes], fault: Fault
) -> None:
    """Metadata that is no metadata, that lies, or that is of another model is refused."""
    path = metadata_path(artefacts, model.version)
    path.write_bytes(change(path.read_bytes()))

    assert fault_of(artefacts) is fault


def test_one_flipped_bit_is_found(artefacts: Path, model: Model) -> None:
    """The checksum sees a single bit."""
    path = arrays_path(artefacts, model.version)
    path.write_bytes(flip(path.read_bytes()))

    assert fault_of(artefacts) is Fault.CHECKSUM


class Run:
    """A pickle of it would run code where it is read."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return pytest.fail, ("a pickle was run",)


def hostile_pickle() -> bytes:
    """Return arrays with code inside."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("weights.npy", pickle.dumps(Run()))
        archive.writestr("popularity.npy", pickle.dumps(Run()))
    return out.getvalue()


def pickled_objects() -> bytes:
    """Return arrays of objects, as the format has them."""
    out = io.BytesIO()
    objects = np.array([Run()], dtype=object)
    np.savez(out, weights=objects, popularity=objects)
    return out.getvalue()


def zip_bomb() -> bytes:
    """Return a small file of large arrays."""
    out = io.BytesIO()
    large = np.zeros(17 * 1024 * 1024, np.float32)
    np.savez_compressed(out, weights=large, popularity=large)
    return out.getvalue()


def of_doubles() -> bytes:
    """Return arrays of another type."""
    out = io.BytesIO()
    np.savez(out, weights=np.zeros((2, 2)), popularity=np.zeros(2))
    return out.getvalue()


@pytest.mark.parametrize(
    "make", [hostile_pickle, pickled_objects, zip_bomb, of_doubles, lambda: b"no archive"]
)
def test_hostile_arrays_are_refused(
    artefacts: Path, model: Model, make: Callable[[], bytes]
) -> None:
    """What would run code, fill the memory or is no array at all is refused even without checks."""
    arrays_path(artefacts, model.version).write_bytes(make())

    assert fault_of(artefacts, verify=False) is Fault.UNREADABLE


def test_missing_files_are_told_apart_from_bad_ones(
    artefacts: Path, model: Model, tmp_path: Path
) -> None:
    """Nothing deployed, and a version that is gone, are missing; how to make one is said."""
    with pytest.raises(ArtefactError, match=r"python -m app\.ml_pipelines\.training") as caught:
        load(tmp_path / "nowhere", now=now())
    assert caught.value.fault is Fault.MISSING
    arrays_path(artefacts, model.version).unlink()
    assert fault_of(artefacts) is Fault.MISSING


@pytest.mark.parametrize(
    "text", ['{"version": "../x", "last_good": null}', '{"version": "a"}', "1"]
)
def test_a_pointer_leads_nowhere_else(artefacts: Path, text: str) -> None:
    """The deployed version is a name and never a path."""
    (artefacts / "recommendations.json").write_text(text)

    assert fault_of(artefacts) is Fault.METADATA


def test_age_is_measured_from_training(artefacts: Path, model: Model) -> None:
    """A model is served up to its greatest age and not a moment longer."""
    age = timedelta(days=30)

    read = load(artefacts, now=model.created_at + age, max_age=age)
    assert read.version == model.version
    assert fault_of(artefacts, now=model.created_at + age + timedelta(seconds=1)) is Fault.STALE


def test_a_write_that_fails_leaves_what_was(
    artefacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fails in the middle, the old file is whole and nothing lies beside it."""
    before = sorted(path.name for path in artefacts.iterdir())
    old = (artefacts / "recommendations.json").read_bytes()

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.ml_pipelines.artefact.os.fsync", no_room)
    with pytest.raises(OSError, match="No space left"):
        replace(artefacts / "recommendations.json", b"new")

    assert (artefacts / "recommendations.json").read_bytes() == old
    assert sorted(path.name for path in artefacts.iterdir()) == before


def test_deploying_keeps_the_last_good_one(artefacts: Path, model: Model) -> None:
    """Only what is called good becomes the version to come back to."""
    write(artefacts, model)
    deploy(artefacts, "other", good=False)

    assert deployed(artefacts).last_good == model.version


def test_commands_answer_in_one_line(
    artefacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bad` says what it deployed, or in one line why it could not."""
    assert bad_main(["nan", "--dir", str(artefacts)]) == 0
    assert capsys.readouterr().out == "deployed bad-nan\n"
    assert bad_main(["restore", "--dir", str(artefacts)]) == 0
    assert bad_main(["nan", "--dir", str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
