"""What the processes beside the API are built from."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.api.middleware.correlation import correlate
from app.core.context import current
from app.infrastructure.database import Database, database_guard
from app.infrastructure.object_store import ObjectStore, object_store_guard
from app.models import Task
from app.services.storage import StorageService
from app.worker.deletion import Deletion
from app.worker.ledger import Ledger
from app.worker.outbox import Outbox
from app.worker.pipeline import LIMITS, Outcome, Pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from uuid import UUID

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.worker.ffmpeg import Limits
    from app.worker.pipeline import Patience

WORK_FOLDER = "work"


@dataclass(frozen=True, slots=True)
class Workshop:
    """Does tasks, whoever was asked: a worker, or the application itself."""

    pipeline: Pipeline
    deletion: Deletion

    @classmethod
    def of(
        cls,
        database: Database,
        media: StorageService,
        metrics: Metrics,
        *,
        folder: Path,
        patience: Patience | None = None,
        limits: Limits = LIMITS,
    ) -> Workshop:
        """Build it on what the process has."""
        pipeline = Pipeline(
            Ledger(database), media, metrics, folder=folder, patience=patience, limits=limits
        )
        return cls(pipeline, Deletion(database, media))

    async def do(self, task: Task, subject: UUID, correlation_id: str | None) -> Outcome:
        """Do a task under the id of the request that asked for it. Raises UnavailableError."""
        with working_for(correlation_id):
            if task is Task.PROCESS_VIDEO:
                return await self.pipeline.process(subject)
            await self.deletion.clear(subject)
            return Outcome.NOTHING_TO_DO


@dataclass(frozen=True, slots=True)
class Parts:
    """What leads out of the process."""

    database: Database
    storage: StorageService
    outbox: Outbox


@asynccontextmanager
async def open_parts(settings: Settings, metrics: Metrics) -> AsyncIterator[Parts]:
    """Build them; close them at the end."""
    async with AsyncExitStack() as stack:
        database = Database(
            settings.database_url.get_secret_value(), database_guard(metrics), metrics
        )
        stack.push_async_callback(database.close)
        store = ObjectStore(settings, object_store_guard(metrics))
        stack.push_async_callback(store.close)
        storage = StorageService(settings, store, metrics)
        stack.push_async_callback(storage.close)
        yield Parts(database, storage, Outbox(database))


def work_folder(settings: Settings) -> Path:
    """Return where work keeps its files meanwhile."""
    return settings.local_store_dir / WORK_FOLDER


@contextmanager
def working_for(correlation_id: str | None) -> Iterator[None]:
    """Make this the context of all that is logged and sent. An id that is none is replaced by a new one."""
    headers = [(b"x-request-id", correlation_id.encode())] if correlation_id else []
    token = current.set(correlate(headers, dict(headers)))
    try:
        yield
    finally:
        current.reset(token)
