"""Videos: what the public sees of them, and their views.

Reads come ready to send, as JSON bytes: the cache holds exactly what the client gets, so that the hot path parses
and builds nothing. A view changes no cached entry; counts in cached answers are as old as the entry, by design:
clearing a popular video's entry at each of its views would leave it without a cache.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import (
    BigInteger,
    Interval,
    Row,
    Select,
    bindparam,
    cast,
    func,
    select,
    text,
    tuple_,
)

from app.core.errors import NotFoundError
from app.models import VIEW_SHARDS, User, Video, VideoView, VideoViewCount
from app.services.accounts import denied
from app.services.paging import Cursor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.core.metrics import Metrics
    from app.infrastructure.cache import Cache
    from app.infrastructure.database import Database

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]

DETAIL_TTL_S = 30.0
LIST_TTL_S = 10.0
TRENDING_TTL_S = 10.0
TRENDING_WINDOW = timedelta(days=7)
TRENDING_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Owner:
    """Who published a video."""

    id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """A video as lists show it."""

    id: UUID
    title: str
    duration_s: int
    published_at: datetime
    views: int
    thumbnail_url: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class VideoDetail:
    """A video as its own page shows it."""

    id: UUID
    title: str
    description: str
    duration_s: int
    published_at: datetime
    views: int
    thumbnail_url: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class VideoPage:
    """A part of the list, newest first; `next_cursor` leads to the part after it, null at the end."""

    items: list[VideoSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class TrendingVideos:
    """The videos of the week: most viewed in the last seven days, then most viewed ever."""

    items: list[VideoSummary]


@dataclass(frozen=True, slots=True)
class ViewReceipt:
    """The promise that a view is kept: it is on the database's disk when this is sent."""

    view_id: UUID
    video_id: UUID


class VideoService:
    """Reads and counts videos."""

    def __init__(self, database: Database, cache: Cache, metrics: Metrics) -> None:
        """Use these for all that it reads and writes."""
        self._database = database
        self._cache = cache
        self._metrics = metrics

    async def detail(self, video_id: UUID) -> bytes:
        """Return a `VideoDetail` as JSON. Raises NotFoundError."""

        async def load() -> bytes:
            async def query(session: AsyncSession) -> AnyRow | None:
                return (await session.execute(_DETAIL, {"video_id": video_id})).one_or_none()

            row = await self._database.run(query, operation="select", table="videos")
            if row is None:
                raise _no_video(video_id)
            return _json(VideoDetail(description=row.description, **_shared(row)))

        return await self._cache.get_or_load(_key(video_id), DETAIL_TTL_S, load)

    async def page(self, limit: int, cursor: Cursor | None) -> bytes:
        """Return a `VideoPage` as JSON. First pages are cached; later ones are too many and too rarely shared."""

        async def load() -> bytes:
            statement = _FIRST_PAGE
            values: dict[str, Any] = {"count": limit + 1}
            if cursor is not None:
                statement = _NEXT_PAGE
                values |= {"published_at": cursor.published_at, "id": cursor.id}
            rows = await self._rows(statement, values)
            items = [VideoSummary(**_shared(row)) for row in rows[:limit]]
            more = len(rows) > limit
            last = Cursor(items[-1].published_at, items[-1].id).encode() if more else None
            return _json(VideoPage(items, last))

        if cursor is not None:
            return await load()
        return await self._cache.get_or_load(f"videos:first:{limit}", LIST_TTL_S, load)

    async def trending(self) -> bytes:
        """Return `TrendingVideos` as JSON."""

        async def load() -> bytes:
            rows = await self._rows(_TRENDING, {"window": TRENDING_WINDOW})
            return _json(TrendingVideos([VideoSummary(**_shared(row)) for row in rows]))

        return await self._cache.get_or_load("videos:trending", TRENDING_TTL_S, load)

    async def change(self, caller_id: UUID, video_id: UUID, changes: Mapping[str, str]) -> bytes:
        """Change title or description; return the `VideoDetail` of now as JSON.

        Raises NotFoundError, ForbiddenError. Who may is decided by the roles and owners of this moment, in the
        statement that changes. The answer comes from the database, since a cache that cannot be cleared is old.
        """
        values: dict[str, object] = {"title": None, "description": None, **changes}
        values |= {"video_id": video_id, "caller_id": caller_id}

        async def write(session: AsyncSession) -> AnyRow:
            changed = (await session.execute(_CHANGE, values)).one_or_none() is not None
            row = (await session.execute(_DETAIL, {"video_id": video_id})).one_or_none()
            if row is None:
                raise _no_video(video_id)
            if not changed:
                raise denied(
                    caller_id, "only the owner of a video and administrators may change it"
                )
            return row

        row = await self._database.run(write, operation="update", table="videos")
        await self._cache.delete(_key(video_id))
        return _json(VideoDetail(description=row.description, **_shared(row)))

    async def record_view(self, video_id: UUID) -> ViewReceipt:
        """Keep a view, then give the receipt. One statement: the event and its count stand or fall together."""
        view_id = uuid4()
        values = {
            "view_id": view_id,
            "video_id": video_id,
            "shard": random.randrange(VIEW_SHARDS),  # noqa: S311  spreads writers, keeps no secret
        }

        async def write(session: AsyncSession) -> bool:
            return (await session.execute(_RECORD_VIEW, values)).one_or_none() is not None

        if not await self._database.run(write, operation="insert", table="video_views"):
            raise _no_video(video_id)
        self._metrics.views_total.inc()
        return ViewReceipt(view_id, video_id)

    async def _rows(self, statement: AnySelect, values: dict[str, Any]) -> Sequence[AnyRow]:
        async def query(session: AsyncSession) -> Sequence[AnyRow]:
            return (await session.execute(statement, values)).all()

        return await self._database.run(query, operation="select", table="videos")


def _no_video(video_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no public video {video_id}")


def _key(video_id: UUID) -> str:
    return f"video:{video_id}"


def _json(value: object) -> bytes:
    return orjson.dumps(value, default=_text_of_id, option=orjson.OPT_UTC_Z)


def _text_of_id(value: object) -> str:
    """Render what orjson cannot: asyncpg's UUIDs, which are a subclass of Python's."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError


def _shared(row: AnyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "duration_s": row.duration_s,
        "published_at": row.published_at,
        "views": row.views,
        "thumbnail_url": f"/api/v1/videos/{row.id}/thumbnail",
        "owner": Owner(row.owner_id, row.username),
    }


# ---- statements, built once: building one costs more than PostgreSQL needs to answer it ----

_VIEWS = cast(
    func.coalesce(
        select(func.sum(VideoViewCount.views))
        .where(VideoViewCount.video_id == Video.id)
        .scalar_subquery(),
        0,
    ),
    BigInteger,
).label("views")

_PUBLIC: AnySelect = (
    select(
        Video.id,
        Video.title,
        Video.duration_s,
        Video.published_at,
        Video.owner_id,
        User.username,
        _VIEWS,
    )
    .join(User, User.id == Video.owner_id)
    .where(Video.published_at.is_not(None))
)

_DETAIL = _PUBLIC.add_columns(Video.description).where(Video.id == bindparam("video_id"))

_FIRST_PAGE = _PUBLIC.order_by(Video.published_at.desc(), Video.id.desc()).limit(bindparam("count"))

_NEXT_PAGE = _FIRST_PAGE.where(
    tuple_(Video.published_at, Video.id) < tuple_(bindparam("published_at"), bindparam("id"))
)

_CHANGE = text("""
    UPDATE videos
    SET title = coalesce(CAST(:title AS text), title),
        description = coalesce(CAST(:description AS text), description)
    FROM users AS caller
    WHERE videos.id = :video_id AND published_at IS NOT NULL AND caller.id = :caller_id
      AND (caller.role = 'admin' OR (caller.role = 'creator' AND owner_id = caller.id))
    RETURNING videos.id
""")

_RECENT = (
    select(VideoView.video_id, func.count().label("views"))
    .where(VideoView.viewed_at > func.now() - bindparam("window", type_=Interval))
    .group_by(VideoView.video_id)
    .subquery()
)

_TRENDING = (
    _PUBLIC.outerjoin(_RECENT, _RECENT.c.video_id == Video.id)
    .order_by(func.coalesce(_RECENT.c.views, 0).desc(), _VIEWS.desc(), Video.id)
    .limit(TRENDING_LENGTH)
)

# The event and its count in one statement: one round trip, and neither without the other. No row comes back when there
# is no such public video.
_RECORD_VIEW = text("""
    WITH seen AS (
        INSERT INTO video_views (id, video_id)
        SELECT CAST(:view_id AS uuid), id FROM videos
        WHERE id = :video_id AND published_at IS NOT NULL
        RETURNING video_id
    )
    INSERT INTO video_view_counts AS counts (video_id, shard, views)
    SELECT video_id, CAST(:shard AS smallint), 1 FROM seen
    ON CONFLICT (video_id, shard) DO UPDATE SET views = counts.views + 1
    RETURNING counts.video_id
""")
