"""Views: each that was acknowledged is kept, and counted once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from sqlalchemy import text

from app.core.errors import AppError
from app.models import VIEW_SHARDS
from app.services.video import no_video

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class ViewReceipt:
    """The promise that a view is kept: it is on the database's disk when this is sent."""

    view_id: UUID
    video_id: UUID


class Views:
    """Counts them."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._total = metrics.views_total

    async def record(self, video_id: UUID, key: UUID | None = None) -> ViewReceipt:
        """Keep a view, then give the receipt; the same `key` again gives it again and counts nothing.

        Raises NotFoundError, and AppError (422) for the key of another video's view. One statement: the event and its
        count stand or fall together.
        """
        view_id = key or uuid4()
        values = {
            "view_id": view_id,
            "video_id": video_id,
            "shard": random.randrange(VIEW_SHARDS),  # noqa: S311  spreads writers, keeps no secret
        }

        async def write(session: AsyncSession) -> tuple[bool, UUID | None]:
            row = (await session.execute(_RECORD, values)).one()
            if row.is_public and not row.is_new:
                return False, (await session.execute(_VIDEO_OF_VIEW, values)).scalar_one_or_none()
            return row.is_new, video_id if row.is_public else None

        new, seen = await self._database.run(write, operation="insert", table="video_views")
        if seen is None:
            raise no_video(video_id)
        if seen != video_id:
            raise AppError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "Unprocessable content",
                "this Idempotency-Key belongs to the view of another video; use a new one",
            )
        if new:
            self._total.inc()
        return ViewReceipt(view_id, video_id)


# The event and its count in one statement: one round trip, and neither without the other.
_RECORD = text("""
    WITH video AS (
        SELECT id FROM videos
        WHERE id = :video_id AND published_at IS NOT NULL AND deleted_at IS NULL
    ), seen AS (
        INSERT INTO video_views (id, video_id)
        SELECT CAST(:view_id AS uuid), id FROM video
        ON CONFLICT (id) DO NOTHING
        RETURNING video_id
    ), counted AS (
        INSERT INTO video_view_counts AS counts (video_id, shard, views)
        SELECT video_id, CAST(:shard AS smallint), 1 FROM seen
        ON CONFLICT (video_id, shard) DO UPDATE SET views = counts.views + 1
    )
    SELECT EXISTS (SELECT FROM video) AS is_public, EXISTS (SELECT FROM seen) AS is_new
""")

# A statement of its own: a view that another transaction wrote meanwhile is not in the snapshot of the one above.
_VIDEO_OF_VIEW = text("SELECT video_id FROM video_views WHERE id = :view_id")
