"""The local store: bounded, least recently used first out, nothing outside its folder, nothing half."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.infrastructure.local_store import LocalObject, LocalStore
from app.infrastructure.object_file import Head

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ("a", "b/c", "b/d", "thumbnails/1.png", "ü")


def image(data: bytes = b"image", etag: str = "1") -> LocalObject:
    """Build an object."""
    return LocalObject(data, "image/png", etag)


def disk_use(folder: Path) -> int:
    """Return how much the files below `folder` take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_got(tmp_path: Path) -> None:
    """Bytes, content type and etag come back; another key has nothing."""
    store = LocalStore(tmp_path, 10_000)
    store.put("thumbnails/1.png", image(b"line\n\x00break", "tag"))

    assert store.get("thumbnails/1.png") == image(b"line\n\x00break", "tag")
    assert store.holds("thumbnails/1.png", "tag")
    assert not store.holds("thumbnails/1.png", "newer")
    assert store.get("thumbnails/2.png") is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """Reading keeps an object; what nobody read makes room."""
    store = LocalStore(tmp_path, 500)
    for key in ("a", "b", "c"):
        assert store.put(key, image(bytes(100))) == 0
    store.get("a")
    assert store.put("d", image(bytes(100))) == 1

    assert [key for key in "abcd" if store.get(key)] == ["a", "c", "d"]
    assert not store.holds("b", "1")


def test_a_restart_finds_objects_and_their_order(tmp_path: Path) -> None:
    """A new process serves what the old one kept, and lets go in the order of last use."""
    before = LocalStore(tmp_path, 500)
    for key in ("a", "b", "c"):
        before.put(key, image(bytes(100)))
    before.get("a")

    after = LocalStore(tmp_path, 500)
    assert after.total_bytes == before.total_bytes == disk_use(tmp_path)
    after.put("d", image(bytes(100)))
    assert [key for key in "abcd" if after.get(key)] == ["a", "c", "d"]


def test_a_smaller_limit_holds_from_the_start(tmp_path: Path) -> None:
    """A process that is given less room makes it at once."""
    before = LocalStore(tmp_path, 1000)
    for key in "abcdef":
        before.put(key, image(bytes(100)))
    LocalStore(tmp_path, 300)

    assert disk_use(tmp_path) <= 300


def test_an_object_larger_than_the_store_is_refused(tmp_path: Path) -> None:
    """It would push out everything and not fit even then; the error shows both sizes."""
    store = LocalStore(tmp_path, 300)
    store.put("a", image())
    with pytest.raises(ValueError, match=r"'b' takes \d+ bytes; the limit is 300"):
        store.put("b", image(bytes(400)))

    assert store.get("a") == image()


@pytest.mark.parametrize(
    "key", ["", "../outside", "a/../../outside", "/etc/passwd", "a/\0b", "a/../../../x"]
)
def test_a_key_cannot_lead_out_of_the_folder(tmp_path: Path, key: str) -> None:
    """Neither read nor write leaves the root."""
    store = LocalStore(tmp_path / "root", 1000)
    for call in (lambda: store.get(key), lambda: store.put(key, image())):
        with pytest.raises(ValueError, match="does not name a file inside the store"):
            call()

    assert disk_use(tmp_path) == 0


def test_a_link_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    """A folder that is a link to elsewhere is not followed."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    store = LocalStore(root, 1000)
    elsewhere.mkdir()
    (root / "copies" / "link").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="does not name a file inside the store"):
        store.put("link/a", image())

    assert disk_use(elsewhere) == 0


@pytest.mark.parametrize("damage", [b"", b"not json\nimage", b'{"size": 5}\nimage', b"[]\nimage"])
def test_a_damaged_file_is_absent_and_goes(tmp_path: Path, damage: bytes) -> None:
    """What a crash or a stranger left is never served; the bytes it used are free again."""
    store = LocalStore(tmp_path, 1000)
    store.put("a", image())
    (file,) = tmp_path.rglob("*.object")
    file.write_bytes(damage)

    assert store.get("a") is None
    assert store.total_bytes == disk_use(tmp_path) == 0
    store.put("a", image())
    assert store.get("a") == image()


def test_a_cut_off_file_is_absent(tmp_path: Path) -> None:
    """A file shorter than it says is not served, whatever its head says."""
    store = LocalStore(tmp_path, 1000)
    store.put("a", image(b"0123456789"))
    (file,) = tmp_path.rglob("*.object")
    file.write_bytes(file.read_bytes()[:-1])

    assert store.get("a") is None


def test_a_write_that_was_cut_off_leaves_nothing(tmp_path: Path) -> None:
    """Parts of a write that a crash ended are removed at the next start and never counted."""
    LocalStore(tmp_path, 1000).put("a", image())
    (tmp_path / "copies" / "tmp123.part").write_bytes(bytes(500))

    assert LocalStore(tmp_path, 1000).total_bytes == disk_use(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_threads_may_share_it(tmp_path: Path) -> None:
    """Many writers and readers at once: no error, no half object, the bound holds."""
    store = LocalStore(tmp_path, 2000)

    def work(number: int) -> bool:
        key = f"k{number % 7}"
        store.put(key, image(bytes([number % 256]) * 200, str(number)))
        found = store.get(key)
        return found is None or len(set(found.data)) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(300)))

    assert store.total_bytes == disk_use(tmp_path) <= 2000


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 300))), max_size=40
    )
)
def test_it_is_a_bounded_lru_map(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int | None]]
) -> None:
    """Against a model: a put (by size) or a get (None) does the same to both, and the disk agrees."""
    folder = tmp_path_factory.mktemp("store")
    store, model = LocalStore(folder, 700), OrderedDict[str, bytes]()
    sizes: dict[str, int] = {}
    for number, (key, size) in enumerate(steps):
        if size is None:
            expected = model.get(key)
            found = store.get(key)
            assert (found.data if found else None) == expected
        else:
            before = store.total_bytes - (sizes.get(key, 0) if key in model else 0)
            store.put(key, image(bytes(size), str(number)))
            model[key] = bytes(size)
            sizes[key] = size + _head_bytes(key, size, number)
            while before + sizes[key] > 700 and len(model) > 1:
                oldest = next(iter(each for each in model if each != key))
                before -= sizes[oldest]
                del model[oldest]
        if key in model:
            model.move_to_end(key)
        assert store.total_bytes == sum(sizes[each] for each in model) == disk_use(folder)


def _head_bytes(key: str, size: int, number: int) -> int:
    return len(Head(key, size, "image/png", str(number)).line())
