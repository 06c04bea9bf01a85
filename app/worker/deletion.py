"""Clearing away what belongs to a deleted video: its objects first, then its row."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from sqlalchemy import TextClause, text

from app.services.media import object_keys

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database
    from app.services.storage import StorageService

LEASE_S = 15.0

log = structlog.get_logger(component="video")


class Deletion:
    """Clears deleted videos away, as often as it is asked to."""

    def __init__(self, database: Database, media: StorageService) -> None:
        self._database = database
        self._media = media

    async def clear(self, video_id: UUID) -> bool:
        """Clear a deleted video away; False when somebody works on it, or it is not there.

        Raises UnavailableError; then nothing is forgotten, and the next call begins again.
        """
        owner = uuid4().hex
        lease = timedelta(seconds=LEASE_S)
        if not await self._changed(_TAKE, video_id=video_id, owner=owner, lease=lease):
            return False
        try:
            for key in object_keys(video_id):
                await self._media.delete(key)
        except BaseException:
            await self._changed(_GIVE_BACK, video_id=video_id, owner=owner)
            raise
        gone = await self._changed(_REMOVE, operation="delete", video_id=video_id, owner=owner)
        if gone:
            log.info("video_cleared", video_id=str(video_id))
        return gone

    async def _changed(
        self, statement: TextClause, *, operation: str = "update", **values: object
    ) -> bool:
        async def work(session: AsyncSession) -> bool:
            return (await session.execute(statement, values)).one_or_none() is not None

        return await self._database.run(work, operation=operation, table="videos")


# The same lease as that of the work: whoever works on the video ends first, and nobody begins.
_TAKE = text("""
    WITH deleted AS (
        SELECT id FROM videos WHERE id = :video_id AND deleted_at IS NOT NULL FOR NO KEY UPDATE
    )
    INSERT INTO processings AS p (video_id, lease_owner, lease_until, stage)
    SELECT id, CAST(:owner AS text), now() + CAST(:lease AS interval), 'delete' FROM deleted
    ON CONFLICT (video_id) DO UPDATE
    SET lease_owner = CAST(:owner AS text), lease_until = now() + CAST(:lease AS interval),
        stage = 'delete', updated_at = now()
    WHERE p.lease_owner IS NULL OR p.lease_until < now()
    RETURNING video_id
""")

_GIVE_BACK = text("""
    UPDATE processings SET lease_owner = NULL, lease_until = NULL
    WHERE video_id = :video_id AND lease_owner = :owner
    RETURNING video_id
""")

_REMOVE = text("""
    DELETE FROM videos USING processings AS p
    WHERE videos.id = :video_id AND p.video_id = videos.id AND p.lease_owner = :owner
      AND videos.deleted_at IS NOT NULL
    RETURNING videos.id
""")
