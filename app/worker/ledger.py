"""Who works on a video, and what came of it: rows, each changed under the conditions that make it happen once.

Two things keep work from having two effects. A lease lets one at a time do it, so that nothing is done in vain. And the
end of the work is one transaction that only a video still in processing lets through, so that a second end changes
nothing, even by somebody who was stopped for an hour and does not know that the lease has gone to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import Row, TextClause, text

from app.models import Effect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database

TABLE = "processings"


@dataclass(frozen=True, slots=True)
class Taken:
    """A video whose lease was taken. `attempts` counts this one too."""

    attempts: int
    size_bytes: int | None
    checksum_sha256: str | None


@dataclass(frozen=True, slots=True)
class MadeRendition:
    """A rendition that is in the store."""

    name: str
    key: str
    height: int
    size_bytes: int
    checksum_sha256: str


class Ledger:
    """Leases and effects. Every method raises DependencyUnavailableError when PostgreSQL is away."""

    # The video's row is locked first, here and in END: a lease is never given on a video that ends in this moment.
    TAKE: ClassVar[TextClause] = text("""
        WITH open AS (
            SELECT id, size_bytes, checksum_sha256 FROM videos
            WHERE id = :video_id AND status = 'processing' AND deleted_at IS NULL
            FOR NO KEY UPDATE
        ), taken AS (
            INSERT INTO processings AS p (video_id, attempts, lease_owner, lease_until)
            SELECT id, 1, CAST(:owner AS text), now() + CAST(:lease AS interval) FROM open
            ON CONFLICT (video_id) DO UPDATE
            SET attempts = p.attempts + 1, lease_owner = CAST(:owner AS text),
                lease_until = now() + CAST(:lease AS interval), stage = NULL, updated_at = now()
            WHERE p.lease_until IS NULL OR p.lease_until < now()
            RETURNING video_id, attempts
        )
        SELECT attempts, size_bytes, checksum_sha256 FROM taken JOIN open ON open.id = video_id
    """)
    END: ClassVar[TextClause] = text("""
        UPDATE videos
        SET status = CAST(:effect AS text), failure_reason = CAST(:reason AS text),
            duration_s = coalesce(CAST(:duration_s AS integer), duration_s),
            published_at = CASE WHEN CAST(:effect AS text) = 'published' THEN now() END
        WHERE id = :video_id AND status = 'processing' AND deleted_at IS NULL
        RETURNING id
    """)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, video_id: UUID, owner: str, lease_s: float) -> Taken | None:
        """Take the lease on a video in processing; None when there is nothing to do or somebody else does it."""
        row = await self._one(self.TAKE, video_id=video_id, owner=owner, lease=_interval(lease_s))
        return Taken(*row) if row is not None else None

    async def renew(self, video_id: UUID, owner: str, lease_s: float, stage: str) -> bool:
        """Keep the lease; False when it is lost, or the video is deleted or done."""
        row = await self._one(
            _RENEW, video_id=video_id, owner=owner, lease=_interval(lease_s), stage=stage
        )
        return row is not None

    async def leave(
        self, video_id: UUID, owner: str, *, error: str | None, pause_s: float, counts: bool
    ) -> None:
        """Give the lease up, for anybody to take after `pause_s`; an attempt that does not count is given back."""
        await self._one(
            _LEAVE,
            video_id=video_id,
            owner=owner,
            error=error,
            pause=_interval(pause_s),
            given_back=0 if counts else 1,
        )

    async def publish(
        self, video_id: UUID, duration_s: int, renditions: Sequence[MadeRendition]
    ) -> bool:
        """Make the video public; False, and nothing changed, when it is no longer in processing."""
        rows = [
            {
                "video_id": video_id,
                "name": each.name,
                "key": each.key,
                "height": each.height,
                "size_bytes": each.size_bytes,
                "checksum_sha256": each.checksum_sha256,
            }
            for each in renditions
        ]

        async def write(session: AsyncSession) -> bool:
            if not await self._end(session, video_id, Effect.PUBLISHED, None, duration_s):
                return False
            await session.execute(_ADD_RENDITION, rows)
            return True

        return await self._database.run(write, operation="update", table="videos")

    async def fail(self, video_id: UUID, reason: str) -> bool:
        """End the work for good, with a reason; False, and nothing changed, when it is no longer in processing."""

        async def write(session: AsyncSession) -> bool:
            return await self._end(session, video_id, Effect.FAILED, reason, None)

        return await self._database.run(write, operation="update", table="videos")

    async def is_gone(self, video_id: UUID) -> bool:
        """Whether the video was deleted, so that nothing of it may stay."""
        return await self._one(_THERE, operation="select", video_id=video_id) is None

    async def _end(
        self,
        session: AsyncSession,
        video_id: UUID,
        effect: Effect,
        reason: str | None,
        duration_s: int | None,
    ) -> bool:
        values = {"effect": effect, "reason": reason, "duration_s": duration_s}
        ended = await session.execute(self.END, {"video_id": video_id, **values})
        if ended.one_or_none() is None:
            return False
        await session.execute(_ADD_EFFECT, {"video_id": video_id, "effect": effect})
        await session.execute(_SETTLE, {"video_id": video_id, "reason": reason})
        return True

    async def _one(
        self, statement: TextClause, *, operation: str = "update", **values: object
    ) -> Row[*tuple[Any, ...]] | None:
        async def work(session: AsyncSession) -> Row[*tuple[Any, ...]] | None:
            return (await session.execute(statement, values)).one_or_none()

        return await self._database.run(work, operation=operation, table=TABLE)


def _interval(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


_RENEW = text("""
    UPDATE processings AS p
    SET lease_until = now() + CAST(:lease AS interval), stage = :stage, updated_at = now()
    FROM videos AS v
    WHERE p.video_id = :video_id AND p.lease_owner = :owner
      AND v.id = p.video_id AND v.status = 'processing' AND v.deleted_at IS NULL
    RETURNING p.video_id
""")

# A pause is a lease of nobody: nobody may take the video until it is over.
_LEAVE = text("""
    UPDATE processings
    SET lease_owner = NULL, lease_until = now() + CAST(:pause AS interval),
        last_error = coalesce(CAST(:error AS text), last_error),
        attempts = attempts - CAST(:given_back AS integer), updated_at = now()
    WHERE video_id = :video_id AND lease_owner = :owner
    RETURNING video_id
""")

_THERE = text("SELECT id FROM videos WHERE id = :video_id AND deleted_at IS NULL")

_ADD_EFFECT = text("INSERT INTO processing_effects (video_id, effect) VALUES (:video_id, :effect)")

_SETTLE = text("""
    UPDATE processings
    SET lease_owner = NULL, lease_until = NULL, stage = NULL,
        last_error = coalesce(CAST(:reason AS text), last_error), updated_at = now()
    WHERE video_id = :video_id
""")

_ADD_RENDITION = text("""
    INSERT INTO renditions (video_id, name, key, height, size_bytes, checksum_sha256)
    VALUES (:video_id, :name, :key, :height, :size_bytes, :checksum_sha256)
    ON CONFLICT (video_id, name) DO UPDATE
    SET key = excluded.key, height = excluded.height, size_bytes = excluded.size_bytes,
        checksum_sha256 = excluded.checksum_sha256
""")
