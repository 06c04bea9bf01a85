"""Large objects and the S3 store: in pieces, within limits that grow with the size, with little memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from app.core.resilience.breaker import BreakerState
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.infrastructure.object_client import FileBody, Transfer, transfer_allowance_s
from app.infrastructure.object_store import (
    BREAKER,
    CALL_TIMEOUT_S,
    PART_BYTES,
    ObjectMissingError,
    ObjectStore,
    RangeError,
)
from chaos.toxiproxy.toxics import BandwidthToxic, BlackholeToxic, LimitToxic
from tests.app.conftest import state_of, until
from tests.app.infrastructure.edge import edge_to
from tests.app.infrastructure.test_object_store import failure, store_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from chaos.toxiproxy.toxics import Toxic
    from tests.app.servers import Server

pytestmark = pytest.mark.live

MIB = 1024 * 1024
LARGE = 2 * PART_BYTES + 12_345


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for reading."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def made(path: Path, size: int) -> tuple[Path, str]:
    """Write a file of random bytes; return it with its checksum."""
    data = os.urandom(size)
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


async def put(store: ObjectStore, key: str, path: Path, checksum: str) -> None:
    """Store a file."""
    with opened(path) as handle:
        await store.put_file(key, handle, "video/mp4", checksum)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, LARGE])
async def test_a_file_that_was_put_is_there_byte_for_byte(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path, size: int
) -> None:
    """In one part or several: size, type and checksum are known, and the bytes that are read back are the file's."""
    path, checksum = made(tmp_path / "file", size)
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        await put(store, "sources/1", path, checksum)
        info, digest = await store.stat("sources/1"), await store.digest("sources/1", size)

    assert (info.size, info.content_type, info.etag) == (size, "video/mp4", checksum)
    assert (digest.size, digest.checksum) == (size, checksum)


async def test_a_part_of_a_file_can_be_put(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """What stands before the offset is not stored."""
    (tmp_path / "file").write_bytes(b"head\nbody")
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        with opened(tmp_path / "file") as handle:
            await store.put_file("a", handle, "text/plain", "checksum", offset=5)
        assert (await store.get("a")).data == b"body"


async def test_pieces_are_those_that_were_asked_for(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """First, middle, last byte, over the end: each piece is that slice of the file, and knows the whole."""
    path, checksum = made(tmp_path / "file", LARGE)
    data = path.read_bytes()
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        await put(store, "a", path, checksum)
        for start, length in (
            (0, 1),
            (0, MIB),
            (PART_BYTES - 3, 7),
            (LARGE - 1, 1),
            (LARGE - 5, 99),
        ):
            piece = await store.read("a", start, length)
            assert piece.data == data[start : start + length]
            assert (piece.whole.size, piece.whole.etag) == (LARGE, checksum)
        for _ in range(BREAKER.window):
            with pytest.raises(RangeError):
                await store.read("a", LARGE, 1)
            with pytest.raises(ObjectMissingError):
                await store.read("b", 0, 1)

        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_what_was_deleted_is_gone_and_keys_are_listed_in_order(
    object_store_process: Server, settings: Settings, metrics: Metrics
) -> None:
    """Deleting twice is no error; a listing is by prefix, bounded, and goes on after a key."""
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        for key in ("sources/3", "sources/1", "sources/2", "renditions/1/480p.mp4"):
            await store.put(key, b"x", "video/mp4")
        for _ in range(2):
            await store.delete("sources/3")

        assert await store.keys("sources/") == ["sources/1", "sources/2"]
        assert await store.keys("sources/", after="sources/1") == ["sources/2"]
        assert await store.keys("", limit=1) == ["renditions/1/480p.mp4"]
        assert not await store.exists("sources/3")


@pytest.mark.parametrize(
    "toxic",
    [
        BlackholeToxic("t", "upstream"),
        BlackholeToxic("t", "downstream"),
        BandwidthToxic("t", "upstream", 50),
        BandwidthToxic("t", "upstream", 500),
        LimitToxic("t", "upstream", 3_000_000),
    ],
    ids=["swallowed", "unanswered", "slow", "trickling", "cut"],
)
async def test_an_upload_that_does_not_get_through_ends_in_time(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    tmp_path: Path,
    toxic: Toxic,
) -> None:
    """Whatever is in its way: an error within the limit of its size, a free thread, and no object."""
    path, checksum = made(tmp_path / "file", LARGE)
    with edge_to(object_store_process, tmp_path) as edge:
        async with store_on(edge.address, settings, metrics) as (store, _):
            await store.ensure_bucket()
            await asyncio.to_thread(edge.inject, toxic)
            reason, took_s = await failure(put(store, "a", path, checksum))

            assert reason in {Reason.TIMEOUT, Reason.RESET}
            assert took_s < CALL_TIMEOUT_S + transfer_allowance_s(LARGE) + 0.3
            await until(lambda: store._uploads.busy == 0, within_s=5.0)
            await asyncio.to_thread(edge.heal)
            assert not await store.exists("a")


async def test_an_upload_that_was_given_up_does_not_appear_later(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """A frozen server that goes on: the thread of a caller who has left sends no more parts."""
    path, checksum = made(tmp_path / "file", LARGE)
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        object_store_process.stop()
        assert (await failure(put(store, "a", path, checksum)))[0] is Reason.TIMEOUT
        object_store_process.resume()
        await until(lambda: store._uploads.busy == 0, within_s=5.0)
        with pytest.raises(ObjectMissingError):
            await store.stat("a")


async def test_nobody_waits_for_a_probe_and_writes_alone_close_the_breaker(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """Once the breaker is open each upload is refused at once, and with the server back uploads succeed again."""
    path, checksum = made(tmp_path / "file", 1000)
    loop = asyncio.get_running_loop()
    async with store_on(object_store_process.address, settings, metrics) as (store, guard):
        await store.ensure_bucket()
        object_store_process.stop()
        while state_of(guard.breaker) is BreakerState.CLOSED:
            await asyncio.gather(*(failure(put(store, "a", path, checksum)) for _ in range(4)))
        ends_at = loop.time() + 2.5 * BREAKER.open_s
        while loop.time() < ends_at:
            reason, took_s = await failure(put(store, "a", path, checksum))
            assert (reason, took_s < 0.2) == (Reason.BREAKER_OPEN, True)
            await asyncio.sleep(0.02)
        object_store_process.resume()
        async with asyncio.timeout(5.0):
            while not await _accepted(put(store, "a", path, checksum)):  # noqa: ASYNC110 - see until
                await asyncio.sleep(0.02)

        assert state_of(guard.breaker) is BreakerState.CLOSED


async def _accepted(call: object) -> bool:
    with suppress(DependencyUnavailableError):
        await call  # type: ignore[misc] # a coroutine
        return True
    return False


async def test_large_uploads_are_not_slow_calls(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """A store at a speed that is fine does not open the breaker, though each upload takes longer than a slow call."""
    path, checksum = made(tmp_path / "file", 2 * LARGE)
    with edge_to(object_store_process, tmp_path) as edge:
        async with store_on(edge.address, settings, metrics) as (store, guard):
            await store.ensure_bucket()
            await asyncio.to_thread(edge.inject, BandwidthToxic("t", "upstream", 40_000))
            for _ in range(3):
                begun = asyncio.get_running_loop().time()
                await asyncio.gather(*(put(store, f"a{n}", path, checksum) for n in range(4)))
                assert asyncio.get_running_loop().time() - begun > BREAKER.slow_call_s

            assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_memory_stays_small_while_a_large_file_goes_to_the_store(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """200 MB there and, in pieces, back: the process grows by less than 30 MB."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    process = psutil.Process()
    async with store_on(object_store_process.address, settings, metrics) as (store, _):
        await store.ensure_bucket()
        await store.put("warm", bytes(MIB), "video/mp4")
        before = process.memory_info().rss
        with _peak(process) as peak:
            await put(store, "large", path, "0" * 64)
            assert (await store.digest("large", 200_000_000)).size == 200_000_000

    assert peak[0] - before < 30_000_000


@contextmanager
def _peak(process: psutil.Process) -> Iterator[list[int]]:
    """Watch how much memory the process has at most."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def test_a_body_reads_no_file_but_its_own(tmp_path: Path) -> None:
    """After its caller has closed the file, and the number names another, the body still reads the first; then none."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(b"mine")
    other.write_bytes(b"other")
    handle = os.open(mine, os.O_RDONLY)
    body = FileBody(handle, 0, Transfer(float("inf"), 4))
    os.close(handle)
    with opened(other) as reused:
        assert reused == handle
        assert body.read(2) == b"mi"
        body.leave()
        with pytest.raises(TimeoutError):
            body.read(2)
