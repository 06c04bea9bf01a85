"""What is asked for and not yet done: the rows of the outbox, and of those who were lost on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import TextClause, text

from app.models import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database

TABLE = "outbox"


@dataclass(frozen=True, slots=True)
class Entry:
    """A task that is asked for; `needed` unless it was done meanwhile."""

    id: int
    task: Task
    subject: UUID
    correlation_id: str | None
    needed: bool = True


class Outbox:
    """Reads and marks it. Every method raises DependencyUnavailableError when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self) -> int:
        """Return how many tasks were not given to a queue yet."""
        [row] = await self._rows("select", _PENDING)
        return int(row.pending)

    async def claim(self, limit: int) -> list[Entry]:
        """Return the oldest tasks that were not published, each counted as tried. Two callers seldom get the same."""
        return [_entry(row) for row in await self._rows("update", _CLAIM, count=limit)]

    async def mark_published(self, ids: Iterable[int]) -> None:
        """Remember that the queue has them."""
        await self._rows("update", _MARK, ids=list(ids))

    async def next_local(self, max_bytes: int | None) -> Entry | None:
        """Return the oldest unpublished task that may be done now; `max_bytes` bounds videos, if it is a number."""
        rows = await self._rows("select", _NEXT_LOCAL, max_bytes=max_bytes)
        return _entry(rows[0]) if rows else None

    async def unsettled(self, after_s: float, limit: int) -> list[Entry]:
        """Return what was published more than `after_s` ago, is not done, and nobody works on."""
        after = timedelta(seconds=after_s)
        return [
            _entry(row) for row in await self._rows("select", _UNSETTLED, after=after, count=limit)
        ]

    async def ask_again(self, ids: Iterable[int]) -> None:
        """Make tasks unpublished again."""
        await self._rows("update", _ASK_AGAIN, ids=list(ids))

    async def forget_settled(self, after_s: float, limit: int) -> None:
        """Remove rows of tasks that were done long ago, so that the table stays small."""
        await self._rows("delete", _FORGET, after=timedelta(seconds=after_s), count=limit)

    async def _rows(
        self, operation: str, statement: TextClause, **values: object
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        async def work(session: AsyncSession) -> Sequence[Row[*tuple[Any, ...]]]:
            return (await session.execute(statement, values)).all()

        return await self._database.run(work, operation=operation, table=TABLE)


def _entry(row: Row[*tuple[Any, ...]]) -> Entry:
    return Entry(row.id, Task(row.task), row.subject, row.correlation_id, row.needed)


_PENDING = text("SELECT count(*) AS pending FROM outbox WHERE published_at IS NULL")

_NEEDED = """
    EXISTS (SELECT FROM videos AS v WHERE v.id = o.subject AND CASE o.task
        WHEN 'process_video' THEN v.status = 'processing' AND v.deleted_at IS NULL
        ELSE v.deleted_at IS NOT NULL END)
"""

_CLAIM = text(f"""
    WITH next AS (
        SELECT id FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE outbox AS o SET publish_attempts = publish_attempts + 1
        FROM next WHERE o.id = next.id
        RETURNING o.id, o.task, o.subject, o.correlation_id, {_NEEDED} AS needed
    )
    SELECT * FROM claimed ORDER BY id
""")  # noqa: S608 - made of constants

_MARK = text(
    "UPDATE outbox SET published_at = now() WHERE id = ANY(:ids) AND published_at IS NULL RETURNING id"
)

_NEXT_LOCAL = text(f"""
    SELECT o.id, o.task, o.subject, o.correlation_id, {_NEEDED} AS needed
    FROM outbox AS o
    LEFT JOIN videos AS v ON v.id = o.subject
    LEFT JOIN processings AS p ON p.video_id = o.subject
    WHERE o.published_at IS NULL
      AND (p.lease_until IS NULL OR p.lease_until < now())
      AND (o.task <> 'process_video' OR CAST(:max_bytes AS bigint) IS NULL
           OR v.size_bytes IS NULL OR v.size_bytes <= CAST(:max_bytes AS bigint))
    ORDER BY o.id LIMIT 1
""")  # noqa: S608 - made of constants

# From the videos, of which few are unfinished, to their rows here, of which there are many.
_UNSETTLED = text("""
    SELECT o.id, o.task, o.subject, o.correlation_id, true AS needed
    FROM videos AS v
    JOIN outbox AS o ON o.subject = v.id AND o.task = 'process_video'
    LEFT JOIN processings AS p ON p.video_id = v.id
    WHERE v.status = 'processing' AND v.deleted_at IS NULL
      AND o.published_at < now() - CAST(:after AS interval)
      AND (p.lease_until IS NULL OR p.lease_until < now())
    ORDER BY v.created_at LIMIT :count
""")

_ASK_AGAIN = text("UPDATE outbox SET published_at = NULL WHERE id = ANY(:ids) RETURNING id")

_FORGET = text("""
    DELETE FROM outbox WHERE id IN (
        SELECT o.id FROM outbox AS o
        WHERE o.published_at < now() - CAST(:after AS interval)
          AND NOT EXISTS (SELECT FROM videos AS v WHERE v.id = o.subject
                          AND (v.status = 'processing' OR v.deleted_at IS NOT NULL))
        LIMIT :count)
    RETURNING id
""")
