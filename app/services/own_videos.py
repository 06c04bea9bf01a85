"""What owners and administrators do with videos: see all of them, change and delete them."""
# ruff: noqa: TC003 - FastAPI reads the annotations of what it describes at run time

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Row, bindparam, or_, select, text, tuple_

from app.core.context import current
from app.models import Role, User, Video, VideoStatus
from app.services.accounts import denied
from app.services.paging import Cursor
from app.services.video import (
    DETAIL,
    PUBLIC_DETAIL,
    SUMMARY,
    VideoService,
    as_json,
    detail_of,
    no_video,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class OwnVideo:
    """A video as its owner's list shows it."""

    id: UUID
    title: str
    duration_s: int
    status: VideoStatus
    failure_reason: str | None
    created_at: datetime
    published_at: datetime | None
    size_bytes: int | None
    views: int
    thumbnail_url: str


@dataclass(frozen=True, slots=True)
class OwnVideoPage:
    """A part of an owner's list, newest first; `next_cursor` leads to the part after it, null at the end."""

    items: list[OwnVideo]
    next_cursor: str | None


class OwnVideos:
    """Nothing here comes from a cache: who has just changed something sees it."""

    def __init__(self, database: Database, videos: VideoService) -> None:
        """Tell `videos` of every change."""
        self._database = database
        self._videos = videos

    async def page(self, owner_id: UUID, limit: int, cursor: Cursor | None) -> bytes:
        """Return an `OwnVideoPage` as JSON."""
        values: dict[str, Any] = {"owner_id": owner_id, "count": limit + 1}
        statement = _FIRST_PAGE
        if cursor is not None:
            statement = _NEXT_PAGE
            values |= {"created_at": cursor.published_at, "id": cursor.id}

        async def query(session: AsyncSession) -> Sequence[Row[Any]]:
            return (await session.execute(statement, values)).all()

        rows = await self._database.run(query, operation="select", table="videos")
        items = [_own(row) for row in rows[:limit]]
        more = len(rows) > limit
        last = Cursor(items[-1].created_at, items[-1].id).encode() if more else None
        return as_json(OwnVideoPage(items, last))

    async def detail(self, viewer_id: UUID, video_id: UUID) -> bytes:
        """Return a `VideoDetail` as JSON, for the owner and for administrators. Raises NotFoundError."""

        async def query(session: AsyncSession) -> Row[Any] | None:
            values = {"video_id": video_id, "viewer_id": viewer_id}
            return (await session.execute(_OWN_DETAIL, values)).one_or_none()

        row = await self._database.run(query, operation="select", table="videos")
        if row is None:
            raise no_video(video_id)
        return detail_of(row)

    async def change(self, caller_id: UUID, video_id: UUID, changes: Mapping[str, str]) -> bytes:
        """Change title or description; return the `VideoDetail` of now as JSON.

        Raises NotFoundError, ForbiddenError. Who may is decided by the roles and owners of this moment, in the
        statement that changes. The answer comes from the database, since a cache that cannot be cleared is old.
        """
        values: dict[str, object] = {"title": None, "description": None, **changes}
        values |= {"video_id": video_id, "caller_id": caller_id}

        async def write(session: AsyncSession) -> Row[Any]:
            changed = (await session.execute(_CHANGE, values)).one_or_none() is not None
            row = (await session.execute(PUBLIC_DETAIL, {"video_id": video_id})).one_or_none()
            if row is None:
                raise no_video(video_id)
            if not changed:
                raise denied(
                    caller_id, "only the owner of a video and administrators may change it"
                )
            return row

        row = await self._database.run(write, operation="update", table="videos")
        await self._videos.changed(video_id)
        return detail_of(row)

    async def delete(self, caller_id: UUID, video_id: UUID) -> None:
        """Take a video from everybody's sight, and ask for the removal of all that belongs to it, in one statement.

        Raises NotFoundError, ForbiddenError; what is not public does not exist for those whose it is not.
        """
        context = current.get()
        values = {
            "video_id": video_id,
            "caller_id": caller_id,
            "correlation_id": context.correlation_id if context is not None else None,
        }

        async def write(session: AsyncSession) -> None:
            if (await session.execute(_DELETE, values)).one_or_none() is not None:
                return
            public = (await session.execute(PUBLIC_DETAIL, {"video_id": video_id})).one_or_none()
            if public is None:
                raise no_video(video_id)
            raise denied(caller_id, "only the owner of a video and administrators may delete it")

        await self._database.run(write, operation="update", table="videos")
        await self._videos.deleted(video_id)


def _own(row: Row[Any]) -> OwnVideo:
    return OwnVideo(
        id=row.id,
        title=row.title,
        duration_s=row.duration_s,
        status=VideoStatus(row.status),
        failure_reason=row.failure_reason,
        created_at=row.created_at,
        published_at=row.published_at,
        size_bytes=row.size_bytes,
        views=row.views,
        thumbnail_url=f"/api/v1/videos/{row.id}/thumbnail",
    )


# ---- statements, built once ----

_FIRST_PAGE = (
    SUMMARY.add_columns(Video.status, Video.failure_reason, Video.created_at, Video.size_bytes)
    .where(Video.owner_id == bindparam("owner_id"), Video.deleted_at.is_(None))
    .order_by(Video.created_at.desc(), Video.id.desc())
    .limit(bindparam("count"))
)

_NEXT_PAGE = _FIRST_PAGE.where(
    tuple_(Video.created_at, Video.id) < tuple_(bindparam("created_at"), bindparam("id"))
)

_ADMINISTRATORS = select(User.id).where(User.role == Role.ADMIN)

_OWN_DETAIL = DETAIL.where(
    Video.deleted_at.is_(None),
    or_(Video.owner_id == bindparam("viewer_id"), bindparam("viewer_id").in_(_ADMINISTRATORS)),
)

_CHANGE = text("""
    UPDATE videos
    SET title = coalesce(CAST(:title AS text), title),
        description = coalesce(CAST(:description AS text), description)
    FROM users AS caller
    WHERE videos.id = :video_id AND published_at IS NOT NULL AND deleted_at IS NULL AND caller.id = :caller_id
      AND (caller.role = 'admin' OR (caller.role = 'creator' AND owner_id = caller.id))
    RETURNING videos.id
""")

_DELETE = text("""
    WITH gone AS (
        UPDATE videos SET deleted_at = now()
        FROM users AS caller
        WHERE videos.id = :video_id AND deleted_at IS NULL AND caller.id = :caller_id
          AND (caller.role = 'admin' OR owner_id = caller.id)
        RETURNING videos.id
    )
    INSERT INTO outbox (task, subject, correlation_id)
    SELECT 'delete_objects', id, CAST(:correlation_id AS text) FROM gone
    RETURNING subject
""")
