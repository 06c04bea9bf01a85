"""Back to the store: nothing is let go here before the store has shown the same bytes, and nothing newer is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.infrastructure.object_store import Digest, ObjectMissingError, ObjectStore
from app.services.copy_back import Reconciled
from tests.app.conftest import until
from tests.app.services.stores import TYPE, body, made, pinned, put, storing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from tests.app.servers import Server

pytestmark = pytest.mark.live


class MeddledStore(ObjectStore):
    """A store in which something happens between the copying of an object and its reading back."""

    between: Callable[[str], Awaitable[None]] | None = None

    async def digest(self, key: str, size: int) -> Digest:
        """Let it happen once, then read back."""
        meddle, self.between = self.between, None
        if meddle is not None:
            await meddle(key)
        return await super().digest(key, size)


async def test_after_a_heal_everything_comes_to_the_store_and_nothing_stays_pinned(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    tmp_path: Path,
) -> None:
    """Pinned while the store was dead; once it is back: the same bytes, types and checksums there, the spool empty."""
    files = [made(tmp_path, size) for size in (0, 1000, 9_000_000)]
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        object_store_process.kill()
        for number, file in enumerate(files):
            assert await put(storage, f"sources/{number}", file) == "local"
        assert await storage.reconcile_once(10) == Reconciled(failed=1)
        assert sample("storage_spool_files") == 3
        await asyncio.to_thread(object_store_process.start)
        done = [await storage.reconcile_once(2) for _ in range(2)]
        assert done[-1].failed == 0
        await until(lambda: sample("storage_spool_files") == sample("storage_spool_bytes") == 0)
        for number, file in enumerate(files):
            info = await stored.store.stat(f"sources/{number}")
            assert (info.size, info.content_type, info.etag) == (
                len(file.data),
                TYPE,
                file.checksum,
            )
            found = await stored.store.digest(f"sources/{number}", info.size)
            assert found.checksum == file.checksum

    assert done == [Reconciled(2, 2, 2), Reconciled(1, 1, 1)]


async def test_what_was_copied_back_is_still_here_in_the_next_outage(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """A small pin that is let go becomes a copy."""
    file = made(tmp_path, 1000)
    async with storing(object_store_process.address, settings, metrics) as stored:
        await stored.store.ensure_bucket()
        await pinned(stored.storage, "sources/1", file)
        assert (await stored.storage.reconcile_once(10)).unpinned == 1
        await until(lambda: stored.storage._local.holds("sources/1", file.checksum))
        object_store_process.kill()

        assert await body(await stored.storage.open("sources/1")) == file.data


async def test_a_store_that_keeps_other_bytes_does_not_get_the_last_copy(
    object_store_process: Server,
    settings: Settings,
    metrics: Metrics,
    sample: Callable[..., float],
    tmp_path: Path,
) -> None:
    """The object is damaged in the store after the upload was answered: the pin stays, and the next pass mends it."""
    file = made(tmp_path, 1000)
    (objects,) = (Path(each) for each in object_store_process.command if "objects" in str(each))

    async def damage(key: str) -> None:
        (objects / settings.s3_bucket / key).write_bytes(bytes(1000))

    address = object_store_process.address
    async with storing(address, settings, metrics, kind=MeddledStore) as stored:
        await stored.store.ensure_bucket()
        await pinned(stored.storage, "sources/1", file)
        stored.store.between = damage  # type: ignore[attr-defined] # a MeddledStore
        assert await stored.storage.reconcile_once(10) == Reconciled(copied=1, failed=1)
        assert await body(await stored.storage.open("sources/1")) == file.data
        assert sample("storage_spool_files") == 1

        assert await stored.storage.reconcile_once(10) == Reconciled(1, 1, 1)


async def test_a_pin_that_is_damaged_never_goes_to_the_store(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """A disk that lost a bit: the store gets nothing wrong, the pin stays for people, and the others are copied."""
    file = made(tmp_path, 1000)
    async with storing(object_store_process.address, settings, metrics) as stored:
        await stored.store.ensure_bucket()
        await pinned(stored.storage, "sources/1", file)
        (path,) = (settings.local_store_dir / "pinned").iterdir()
        path.write_bytes(path.read_bytes()[:-1] + bytes([file.data[-1] ^ 1]))
        await pinned(stored.storage, "sources/2", file)

        assert await stored.storage.reconcile_once(10) == Reconciled(1, 1, 1, failed=1)
        assert await stored.store.keys("") == ["sources/2"]
        assert path.exists()


async def test_a_pin_that_is_written_again_while_it_is_copied_is_not_lost(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """It stays pinned and is what is read, until a pass has copied the newer bytes."""
    old, new = made(tmp_path, 1000), made(tmp_path, 1001)
    address = object_store_process.address
    async with storing(address, settings, metrics, kind=MeddledStore) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        await pinned(storage, "sources/1", old)
        stored.store.between = lambda key: pinned(storage, key, new)  # type: ignore[attr-defined] # see above
        assert await storage.reconcile_once(10) == Reconciled(copied=1, verified=1)
        assert await body(await storage.open("sources/1")) == new.data
        assert await storage.reconcile_once(10) == Reconciled(1, 1, 1)
        assert await body(await storage.open("sources/1")) == new.data

        assert await storage.pinned() == []


async def test_an_older_pin_never_comes_over_a_newer_write(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """A file whose key waits here is pinned, too, though the store is well: the last one written wins."""
    old, new = made(tmp_path, 1000), made(tmp_path, 1001)
    async with storing(object_store_process.address, settings, metrics) as stored:
        storage = stored.storage
        await stored.store.ensure_bucket()
        await pinned(storage, "sources/1", old)
        assert await put(storage, "sources/1", new) == "local"
        await storage.reconcile_once(10)

        assert (await stored.store.stat("sources/1")).etag == new.checksum
        assert await storage.pinned() == []


async def test_what_is_deleted_while_it_is_copied_does_not_come_back(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """The deletion comes after the copying, however they meet; what is stored under the key later stays."""
    file, later = made(tmp_path, 1000), made(tmp_path, 1001)
    address = object_store_process.address
    async with storing(address, settings, metrics, kind=MeddledStore) as stored:
        storage, deletions = stored.storage, list[asyncio.Task[None]]()
        await stored.store.ensure_bucket()
        await pinned(storage, "sources/1", file)

        async def delete(key: str) -> None:
            deletions.append(asyncio.create_task(storage.delete(key)))
            await asyncio.wait(deletions, timeout=0.1)

        stored.store.between = delete  # type: ignore[attr-defined] # see above
        assert await storage.reconcile_once(10) == Reconciled(1, 1, 1)
        await asyncio.wait_for(deletions[0], 5.0)
        with pytest.raises(ObjectMissingError):
            await storage.open("sources/1")
        assert await stored.store.keys("") == []
        assert await put(storage, "sources/1", later) == "s3"
        await storage.reconcile_once(10)

        assert await body(await storage.open("sources/1")) == later.data


async def test_a_damaged_pin_can_be_deleted(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """What cannot even be read does not stand in the way of a deletion."""
    async with storing(object_store_process.address, settings, metrics) as stored:
        await stored.store.ensure_bucket()
        await pinned(stored.storage, "sources/1", made(tmp_path, 1000))
        (path,) = (settings.local_store_dir / "pinned").iterdir()
        path.write_bytes(b"damage")
        await stored.storage.delete("sources/1")

        assert not path.exists()


async def test_passes_of_several_processes_share_the_work(
    object_store_process: Server, settings: Settings, metrics: Metrics, tmp_path: Path
) -> None:
    """Two services on one folder at the same time: each pin is copied once, and none fails."""
    file = made(tmp_path, 1000)
    address = object_store_process.address
    async with (
        storing(address, settings, metrics) as one,
        storing(address, settings, metrics) as two,
    ):
        await one.store.ensure_bucket()
        for number in range(12):
            await pinned(one.storage, f"sources/{number}", file)
        first, second = await asyncio.gather(
            one.storage.reconcile_once(12), two.storage.reconcile_once(12)
        )

        assert first.unpinned + second.unpinned == first.copied + second.copied == 12
        assert first.failed == second.failed == 0
        assert len(await one.store.keys("sources/")) == 12
