"""Pins: durable before they are acknowledged, whole or not there, bounded, and the same for all processes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.core.errors import StorageFullError
from app.infrastructure.local_store import LocalObject, LocalStore
from app.infrastructure.object_file import DamagedError, Head, checksum_of, locked, take
from tests.app.system import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.infrastructure.pin_store import PinStore

WITHIN_S = 20
PINNER = """
import hashlib, os, sys
from pathlib import Path
from app.core.errors import StorageFullError
from app.infrastructure.local_store import LocalStore
from app.infrastructure.object_file import Head
root, name, size, limit, count = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
pins = LocalStore(root, limit).pins
source = os.memfd_create("source")
for number in range(count):
    data = (f"{name}-{number}".encode() * size)[:size]
    os.ftruncate(source, 0)
    os.pwrite(source, data, 0)
    head = Head(f"sources/{name}-{number}", size, "video/mp4", hashlib.sha256(data).hexdigest())
    try:
        pins.pin(head, source)
    except StorageFullError:
        sys.exit(3)
    print(head.key, flush=True)
"""


def start_pinner(
    root: Path, name: str, *, size: int, limit: int = 10**9, count: int = 10**6
) -> subprocess.Popen[bytes]:
    """Pin in another process; it prints the key of each pin once that is acknowledged."""
    arguments = [str(each) for each in (root, name, size, limit, count)]
    return subprocess.Popen(
        [sys.executable, "-c", PINNER, *arguments], cwd=ROOT, stdout=subprocess.PIPE
    )


def pin(pins: PinStore, key: str, data: bytes, checksum: str | None = None) -> Head:
    """Pin some bytes."""
    checksum = checksum or hashlib.sha256(data).hexdigest()
    head = Head(key, len(data), "video/mp4", checksum)
    with _file_of(data) as handle:
        pins.pin(head, handle)
    return head


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"pin-source-{os.getpid()}"  # noqa: S108 - of a test
    path.write_bytes(data)
    handle = os.open(path, os.O_RDONLY)
    path.unlink()
    try:
        yield handle
    finally:
        os.close(handle)


def whole(pins: PinStore, key: str) -> bytes | None:
    """Return a pin's bytes."""
    found = pins.read(key, 0, 10**9)
    return None if found is None else found[1]


def disk_use(folder: Path) -> int:
    """Return how much the files below `folder` take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_pin_is_a_file_with_a_head(tmp_path: Path) -> None:
    """Named by the hash of its key; a line of JSON that says all about it, then its bytes; any part can be read."""
    pins = LocalStore(tmp_path, 10_000).pins
    head = pin(pins, "sources/1", b"line\n\0break")
    (file,) = (tmp_path / "pinned").iterdir()
    line, _, data = file.read_bytes().partition(b"\n")

    assert file.name == f"{hashlib.sha256(b'sources/1').hexdigest()}.object"
    assert json.loads(line) == {
        "key": "sources/1",
        "size": 11,
        "content_type": "video/mp4",
        "checksum": head.checksum,
    }
    assert data == b"line\n\0break"
    assert pins.read("sources/1", 3, 5) == (head, b"e\n\0br")
    assert pins.read("sources/1", 11, 5) == (head, b"")
    assert pins.read("sources/2", 0, 5) is None
    assert pins.all() == [head]


def test_a_pin_is_durable_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File synced, then renamed, then folder synced, then acknowledged: power may fail at any moment."""
    pins = LocalStore(tmp_path, 10_000).pins
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def spy_on_sync(handle: int) -> None:
        sync(handle)
        name = Path(f"/proc/self/fd/{handle}").readlink()
        done.append("folder" if name == tmp_path / "pinned" else f"file {name.suffix}")

    def spy_on_rename(self: Path, target: Path) -> Path:
        done.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spy_on_sync)
    monkeypatch.setattr(Path, "replace", spy_on_rename)
    pin(pins, "sources/1", b"data")

    assert done == ["file .part", "renamed", "folder"]


def test_copies_make_room_for_pins_and_pins_for_nothing(tmp_path: Path) -> None:
    """With the folder full of copies a pin fits; with the folder full of pins a pin is refused, and a copy, too."""
    store = LocalStore(tmp_path, 4_000)
    for number in range(5):
        store.put(f"thumbnails/{number}", LocalObject(bytes(600), "image/png", "1"))
    for number in range(2):
        pin(store.pins, f"sources/{number}", bytes(1_500))
        assert disk_use(tmp_path) <= 4_000
    with pytest.raises(StorageFullError) as full:
        pin(store.pins, "sources/2", bytes(1_500))
    with pytest.raises(ValueError, match="the limit is"):
        store.put("thumbnails/9", LocalObject(bytes(900), "image/png", "1"))

    assert full.value.status == 507
    assert full.value.free_bytes == store.free_bytes() < 1_000
    assert [head.key for head in store.pins.all()] == ["sources/0", "sources/1"]
    assert whole(store.pins, "sources/1") == bytes(1_500)
    assert disk_use(tmp_path) <= 4_000


def test_copies_of_other_processes_make_room_too(tmp_path: Path) -> None:
    """What this process did not copy itself counts and goes all the same."""
    mine, other = (LocalStore(tmp_path, 4_000, rescan_s=0.0) for _ in range(2))
    for number in range(5):
        other.put(f"thumbnails/{number}", LocalObject(bytes(600), "image/png", "1"))
    pin(mine.pins, "sources/0", bytes(3_000))
    assert disk_use(tmp_path) <= 4_000
    mine.put("thumbnails/9", LocalObject(bytes(600), "image/png", "1"))

    assert disk_use(tmp_path) <= 4_000


def test_processes_see_the_same_pins(tmp_path: Path) -> None:
    """A pin of one is there for the other at once, and gone for it at once, with what it took."""
    mine, other = (LocalStore(tmp_path, 4_000) for _ in range(2))
    head = pin(other.pins, "sources/1", b"data")
    assert mine.pins.holds("sources/1")
    assert mine.pins.all() == [head]
    assert mine.free_bytes() == other.free_bytes()
    assert mine.pins.remove("sources/1")

    assert whole(other.pins, "sources/1") is None
    assert other.free_bytes() == 4_000


def test_processes_that_pin_at_once_share_the_bound(tmp_path: Path) -> None:
    """Four of them until each is refused: together never over the limit, and it is used."""
    limit = 200_000
    pinners = [start_pinner(tmp_path, f"p{n}", size=7_000, limit=limit) for n in range(4)]
    keys = [key for each in pinners for key in each.communicate(timeout=WITHIN_S)[0].split()]
    assert [each.returncode for each in pinners] == [3, 3, 3, 3]
    pins = LocalStore(tmp_path, limit).pins

    assert limit - 7_200 < pins.used_bytes() <= limit
    assert sorted(head.key.encode() for head in pins.all()) == sorted(keys)


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_what_was_acknowledged_survives_a_kill_at_any_instant(tmp_path: Path, size: int) -> None:
    """SIGKILL at random moments: each acknowledged pin is whole, no other is half, and nothing else is left."""
    chance, acknowledged = random.Random(size), list[str]()  # noqa: S311 - for moments
    for round_ in range(6):
        with start_pinner(tmp_path, f"r{round_}", size=size) as pinner:
            assert pinner.stdout is not None
            acknowledged.append(pinner.stdout.readline().decode().strip())
            time.sleep(chance.uniform(0, 0.1))
            pinner.kill()
            acknowledged += pinner.stdout.read().decode().split()
    pins = LocalStore(tmp_path, 10**9).pins
    heads = {head.key: head for head in pins.all()}

    assert set(acknowledged) <= set(heads)
    assert len(heads) <= len(acknowledged) + 6
    for key, head in heads.items():
        claimed = pins.claim(key)
        assert claimed is not None
        with closing(claimed):
            assert checksum_of(claimed) == head.checksum
    assert {path.suffix for path in (tmp_path / "pinned").iterdir()} == {".object"}


def test_only_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    """A half-written pin holds its room and stays while its writer lives; a killed writer's goes at the next look."""
    pins = LocalStore(tmp_path, 10_000).pins
    handle, part = pins._begin("abc", 5_000)
    assert pins.sweep() == 0
    assert pins.used_bytes() == 5_000
    with pytest.raises(StorageFullError):
        pin(pins, "sources/1", bytes(6_000))
    os.close(handle)  # as when its process ends
    LocalStore(tmp_path, 10_000)

    assert not part.exists()
    assert pins.used_bytes() == 0
    pin(pins, "sources/1", bytes(6_000))


def test_a_pin_that_was_written_again_is_not_unpinned(tmp_path: Path) -> None:
    """The one who copied the old bytes away may not remove the new ones; what was removed is told apart."""
    pins = LocalStore(tmp_path, 10_000).pins
    pin(pins, "sources/1", b"old")
    claimed = pins.claim("sources/1")
    assert claimed is not None
    with closing(claimed):
        pin(pins, "sources/1", b"new")
        assert claimed.read(0, 99) == b"old"
        assert pins.unpin(claimed) is False
        assert whole(pins, "sources/1") == b"new"
        pins.remove("sources/1")
        assert pins.unpin(claimed) is None


def test_a_pin_is_claimed_by_one_at_a_time(tmp_path: Path) -> None:
    """Nobody copies what another copies just now; once that one is gone it can be claimed again."""
    mine, other = (LocalStore(tmp_path, 10_000).pins for _ in range(2))
    pin(mine, "sources/1", b"data")
    claimed = mine.claim("sources/1")
    assert claimed is not None
    assert other.claim("sources/1") is None
    assert whole(other, "sources/1") == b"data"
    claimed.close()
    again = other.claim("sources/1")
    assert again is not None
    with closing(again):
        assert other.unpin(again) is True

    assert mine.claim("sources/1") is None


def test_a_pin_that_went_at_the_last_moment_is_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened, and then copied away by another before it was taken: it is gone, not claimed."""
    pins, name = LocalStore(tmp_path, 10_000).pins, "app.infrastructure.pin_store.take"
    pin(pins, "sources/1", b"data")

    def take_late(handle: int) -> bool:
        monkeypatch.setattr(name, take)
        faster = pins.claim("sources/1")
        assert faster is not None
        with closing(faster):
            assert pins.unpin(faster)
        return take(handle)

    monkeypatch.setattr(name, take_late)

    assert pins.claim("sources/1") is None


def test_a_process_that_is_paused_at_the_wrong_moment_holds_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the folder waits with a limit, gets an error, and can go on later."""
    monkeypatch.setattr("app.infrastructure.object_file.LOCK_WITHIN_S", 0.05)
    pins = LocalStore(tmp_path, 10_000).pins
    with locked(tmp_path), pytest.raises(TimeoutError):
        pin(pins, "sources/1", b"data")
    pin(pins, "sources/1", b"data")

    assert whole(pins, "sources/1") == b"data"


@pytest.mark.parametrize("data", [b"", b"shor", b"longer", b"other"])
def test_bytes_that_are_not_what_was_announced_are_refused(tmp_path: Path, data: bytes) -> None:
    """Too few, too many or others: no pin, and nothing is left of the attempt."""
    pins = LocalStore(tmp_path, 10_000).pins
    head = Head("sources/1", 5, "video/mp4", hashlib.sha256(b"right").hexdigest())
    with _file_of(data) as handle, pytest.raises(DamagedError):
        pins.pin(head, handle)

    assert list((tmp_path / "pinned").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"{}\ndata", b'["a"]\ndata', b"not json\ndata"])
def test_a_damaged_pin_is_never_served_and_never_removed(tmp_path: Path, damage: bytes) -> None:
    """It is an error, not an absent object; the file stays for people to look at, and the others are found."""
    pins = LocalStore(tmp_path, 10_000).pins
    pin(pins, "sources/1", b"data")
    (file,) = (tmp_path / "pinned").iterdir()
    file.write_bytes(damage)
    pin(pins, "sources/2", b"data")
    for call in (lambda: pins.read("sources/1", 0, 1), lambda: pins.claim("sources/1")):
        with pytest.raises(DamagedError):
            call()

    assert [head.key for head in pins.all()] == ["sources/2"]
    assert pins.spool().files == 2


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/\0", "x" * 513])
def test_a_key_that_can_be_none_is_refused(tmp_path: Path, key: str) -> None:
    """Neither read, written, looked up nor removed."""
    pins = LocalStore(tmp_path / "root", 10_000).pins
    for call in (pins.holds, pins.remove, pins.claim, lambda key: pin(pins, key, b"data")):
        with pytest.raises(ValueError, match="does not name a file inside the store"):
            call(key)

    assert disk_use(tmp_path) == 0
