"""Streams: any slice of an object, read on from wherever it can be had when its place is lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.core.errors import UnavailableError
from app.services.storage import PIECE_BYTES, ObjectChangedError, RangeError
from tests.app.conftest import until
from tests.app.services.stores import TYPE, body, made, put, storing
from tests.app.services.stores import pinned as pin

if TYPE_CHECKING:
    from pathlib import Path

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from tests.app.servers import Server

pytestmark = pytest.mark.live

MIB = 1024 * 1024


@pytest.mark.parametrize("pinned", [False, True])
async def test_ranges_are_those_of_the_file(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    tmp_path: Path,
    *,
    pinned: bool,
) -> None:
    """In the store or pinned: any slice, the end cut to the object's, a start behind it refused, an empty object."""
    file, empty = made(tmp_path, 2 * PIECE_BYTES + 1), made(tmp_path, 0)
    size = len(file.data)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        for key, each in (("a", file), ("empty", empty)):
            await (pin(stored.storage, key, each) if pinned else put(storage, key, each))
        for start, length in (
            (0, None),
            (0, 1),
            (PIECE_BYTES - 1, 2),
            (size - 1, None),
            (7, 10**9),
        ):
            stream = await storage.open("a", start, length)
            expected = file.data[start:] if length is None else file.data[start : start + length]
            assert (stream.start, stream.length) == (start, len(expected))
            assert await body(stream) == expected
        assert await body(await storage.open("empty")) == b""
        for key, start in (("a", size), ("empty", 1)):
            with pytest.raises(RangeError):
                await storage.open(key, start)


async def test_a_stream_goes_on_when_the_store_dies_under_it(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """What was begun from the store is ended from the copy, byte for byte; without one it ends with an error."""
    file, other = made(tmp_path, 4 * PIECE_BYTES), made(tmp_path, 9 * MIB)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        await put(storage, "small", file)
        await put(storage, "large", other)
        await until(lambda: storage._local.holds("small", file.checksum))
        small, large = await storage.open("small"), await storage.open("large")
        object_store_process.kill()

        assert await body(small) == file.data
        with pytest.raises(UnavailableError):
            await body(large)


async def test_a_stream_goes_on_when_its_pin_is_copied_away(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """What was begun from the pin is ended from the store."""
    file = made(tmp_path, 9 * MIB)
    async with storing(object_store_process.address, settings, metrics) as stored:
        await stored.store.ensure_bucket()
        await pin(stored.storage, "sources/1", file)
        stream = await stored.storage.open("sources/1")
        assert (await stored.storage.reconcile_once(1)).unpinned == 1

        assert await body(stream) == file.data


async def test_a_stream_never_mixes_two_versions(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """An object that is replaced while it is read ends the stream with an error."""
    before, after = made(tmp_path, 2 * PIECE_BYTES), made(tmp_path, 2 * PIECE_BYTES)
    async with storing(object_store_process.address, settings, metrics) as stored:
        await stored.store.ensure_bucket()
        await put(stored.storage, "a", before)
        stream = await stored.storage.open("a")
        await put(stored.storage, "a", after)
        with pytest.raises(ObjectChangedError):
            await body(stream)


async def test_what_is_read_becomes_a_copy(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """A part of a small object read once from the store: with the store away all of it can be read."""
    file = made(tmp_path, 2 * MIB)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        await stored.store.put("renditions/1/480p.mp4", file.data, TYPE)
        assert (await storage.open("renditions/1/480p.mp4", 100, 10)).length == 10
        await until(lambda: storage._local.total_bytes > 2 * MIB)
        object_store_process.kill()

        assert await body(await storage.open("renditions/1/480p.mp4")) == file.data
