"""Videos: what the public sees of them.

Reads come ready to send, as JSON bytes: the cache holds exactly what the client gets, so that the hot path parses
and builds nothing. A view changes no cached entry; counts in cached answers are as old as the entry, by design:
clearing a popular video's entry at each of its views would leave it without a cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Interval,
    Row,
    Select,
    and_,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.core.errors import NotFoundError
from app.models import Rendition, User, Video, VideoStatus, VideoView, VideoViewCount
from app.services.paging import Cursor
from app.services.streaming import forms_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.cache import Cache
    from app.infrastructure.database import Database
    from app.services.gone import Gone

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]

DETAIL_TTL_S = 30.0
LIST_TTL_S = 10.0
TRENDING_TTL_S = 10.0
TRENDING_WINDOW = timedelta(days=7)
TRENDING_LENGTH = 20
MAX_PAGE = 100


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
class RenditionInfo:
    """A form in which a video can be watched, and where."""

    name: str
    height: int
    size_bytes: int
    url: str


@dataclass(frozen=True, slots=True)
class VideoDetail:
    """A video as its own page shows it. What is not published yet, or failed, only its owner sees."""

    id: UUID
    title: str
    description: str
    duration_s: int
    status: VideoStatus
    failure_reason: str | None
    published_at: datetime | None
    views: int
    thumbnail_url: str
    owner: Owner
    renditions: list[RenditionInfo]


@dataclass(frozen=True, slots=True)
class VideoPage:
    """A part of the list, newest first; `next_cursor` leads to the part after it, null at the end."""

    items: list[VideoSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class TrendingVideos:
    """The videos of the week: most viewed in the last seven days, then most viewed ever."""

    items: list[VideoSummary]


class VideoService:
    """Reads videos."""

    def __init__(self, database: Database, cache: Cache, gone: Gone) -> None:
        """Use these for all that it reads."""
        self._database = database
        self._cache = cache
        self._gone = gone

    async def detail(self, video_id: UUID) -> bytes:
        """Return a `VideoDetail` as JSON. Raises NotFoundError."""
        if video_id in self._gone:
            raise no_video(video_id)

        async def load() -> bytes:
            async def query(session: AsyncSession) -> AnyRow | None:
                return (await session.execute(PUBLIC_DETAIL, {"video_id": video_id})).one_or_none()

            row = await self._database.run(query, operation="select", table="videos")
            if row is None:
                raise no_video(video_id)
            return detail_of(row)

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
            items = [VideoSummary(**shared(row)) for row in rows[:limit]]
            more = len(rows) > limit
            last = Cursor(items[-1].published_at, items[-1].id).encode() if more else None
            return as_json(VideoPage(items, last))

        if cursor is not None:
            return await load()
        return await self._list(_first_page_key(limit), LIST_TTL_S, load)

    async def trending(self) -> bytes:
        """Return `TrendingVideos` as JSON."""

        async def load() -> bytes:
            rows = await self._rows(_TRENDING, {"window": TRENDING_WINDOW})
            return as_json(TrendingVideos([VideoSummary(**shared(row)) for row in rows]))

        return await self._list(_TRENDING_KEY, TRENDING_TTL_S, load)

    async def changed(self, video_id: UUID) -> None:
        """Hear that what a video says of itself is another now."""
        await self._cache.delete(_key(video_id))

    async def deleted(self, video_id: UUID) -> None:
        """Hear that a video is gone: from now on nothing here shows it, whatever is in the cache."""
        self._gone.add(video_id)
        await self._cache.delete(_key(video_id), forms_key(video_id), *_LIST_KEYS)

    async def _list(self, key: str, ttl_s: float, load: Callable[[], Awaitable[bytes]]) -> bytes:
        copy = await self._cache.get_or_load(key, ttl_s, load)
        return await load() if self._gone.named_in(copy) else copy

    async def _rows(self, statement: AnySelect, values: dict[str, Any]) -> Sequence[AnyRow]:
        async def query(session: AsyncSession) -> Sequence[AnyRow]:
            return (await session.execute(statement, values)).all()

        return await self._database.run(query, operation="select", table="videos")


def no_video(video_id: UUID) -> NotFoundError:
    """Return the error of who asks for a video that is not there for them."""
    return NotFoundError(f"there is no public video {video_id}")


def _key(video_id: UUID) -> str:
    return f"video:{video_id}"


def _first_page_key(limit: int) -> str:
    return f"videos:first:{limit}"


_TRENDING_KEY = "videos:trending"
_LIST_KEYS = (_TRENDING_KEY, *(_first_page_key(limit) for limit in range(1, MAX_PAGE + 1)))


def as_json(value: object) -> bytes:
    """Return what clients get."""
    return orjson.dumps(value, default=_text_of_id, option=orjson.OPT_UTC_Z)


def _text_of_id(value: object) -> str:
    """Render what orjson cannot: asyncpg's UUIDs, which are a subclass of Python's."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError


def shared(row: AnyRow) -> dict[str, Any]:
    """Return what every form of a video has."""
    return {
        "id": row.id,
        "title": row.title,
        "duration_s": row.duration_s,
        "published_at": row.published_at,
        "views": row.views,
        "thumbnail_url": f"/api/v1/videos/{row.id}/thumbnail",
        "owner": Owner(row.owner_id, row.username),
    }


def detail_of(row: AnyRow) -> bytes:
    """Return a `VideoDetail` as JSON, of a row of `DETAIL`."""
    return as_json(
        VideoDetail(
            description=row.description,
            status=VideoStatus(row.status),
            failure_reason=row.failure_reason,
            renditions=[
                RenditionInfo(url=f"/api/v1/videos/{row.id}/stream?rendition={r['name']}", **r)
                for r in row.renditions or ()
            ],
            **shared(row),
        )
    )


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

SUMMARY: AnySelect = select(
    Video.id,
    Video.title,
    Video.duration_s,
    Video.published_at,
    Video.owner_id,
    User.username,
    _VIEWS,
).join(User, User.id == Video.owner_id)
"""The columns that all forms of a video share, of all videos."""

_RENDITION = func.json_build_object(
    "name",
    Rendition.name,
    "height",
    Rendition.height,
    "size_bytes",
    Rendition.size_bytes,
)

DETAIL: AnySelect = SUMMARY.add_columns(
    Video.description,
    Video.status,
    Video.failure_reason,
    select(func.json_agg(aggregate_order_by(_RENDITION, Rendition.height.desc()), type_=JSON))
    .where(Rendition.video_id == Video.id)
    .scalar_subquery()
    .label("renditions"),
).where(Video.id == bindparam("video_id"))
"""One video, whoever may see it."""

_IS_PUBLIC = and_(Video.published_at.is_not(None), Video.deleted_at.is_(None))
_PUBLIC = SUMMARY.where(_IS_PUBLIC)
PUBLIC_DETAIL = DETAIL.where(_IS_PUBLIC)

_FIRST_PAGE = _PUBLIC.order_by(Video.published_at.desc(), Video.id.desc()).limit(bindparam("count"))

_NEXT_PAGE = _FIRST_PAGE.where(
    tuple_(Video.published_at, Video.id) < tuple_(bindparam("published_at"), bindparam("id"))
)

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
