"""Videos as bytes: which object a client wants, which part of it, and whether it has it already."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson
from sqlalchemy import Row, text

from app.core.errors import NotFoundError
from app.services.media import source_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.cache import Cache
    from app.infrastructure.database import Database
    from app.services.gone import Gone

RenditionName = Literal["1080p", "720p", "480p", "source"]
# What a client gets that names none: what most screens show, else what is there.
PREFERENCE: tuple[RenditionName, ...] = ("720p", "480p", "1080p", "source")
FORMS_TTL_S = 30.0

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")


@dataclass(frozen=True, slots=True)
class Form:
    """One object in which a video can be watched."""

    name: RenditionName
    key: str
    size_bytes: int
    checksum_sha256: str
    content_type: str

    @property
    def etag(self) -> str:
        """Return the strong entity tag: the same bytes have the same, and no others do."""
        return f'"{self.checksum_sha256}"'


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` to `start + length` of an object."""

    start: int
    length: int


class UnsatisfiableError(Exception):
    """The range begins behind the end."""


class StreamingService:
    """Finds what can be watched of a video."""

    def __init__(self, database: Database, cache: Cache, gone: Gone) -> None:
        self._database = database
        self._cache = cache
        self._gone = gone

    async def find(
        self, video_id: UUID, name: RenditionName | None, viewer_id: UUID | None
    ) -> Form:
        """Return the form that `name` stands for. Raises NotFoundError.

        What is not public is there for its owner and for administrators alone.
        """
        if video_id in self._gone:
            raise _nothing(video_id)

        async def load() -> bytes:
            return orjson.dumps([asdict(form) for form in await self._forms(video_id, None)])

        try:
            stored = await self._cache.get_or_load(forms_key(video_id), FORMS_TTL_S, load)
            forms = [Form(**form) for form in orjson.loads(stored)]
        except NotFoundError:
            # Not public: nothing that a cache which all share may hold.
            if viewer_id is None:
                raise
            forms = await self._forms(video_id, viewer_id)
        by_name = {form.name: form for form in forms}
        wanted = PREFERENCE if name is None else (name,)
        for each in wanted:
            if each in by_name:
                return by_name[each]
        raise _nothing(video_id)

    async def _forms(self, video_id: UUID, viewer_id: UUID | None) -> list[Form]:
        async def query(session: AsyncSession) -> Sequence[Row[Any]]:
            values = {"video_id": video_id, "viewer_id": viewer_id}
            return (await session.execute(_FORMS, values)).all()

        rows = await self._database.run(query, operation="select", table="videos")
        if not rows:
            raise _nothing(video_id)
        return [
            Form(
                name=row.name,
                key=row.key or source_key(video_id),
                size_bytes=row.size_bytes,
                checksum_sha256=row.checksum_sha256,
                content_type=row.content_type,
            )
            for row in rows
        ]


def _nothing(video_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no video {video_id} in this form")


def forms_key(video_id: UUID) -> str:
    """Return where the forms of a public video are cached."""
    return f"video:{video_id}:forms"


def matches(condition: str | None, etag: str) -> bool:
    """Tell whether If-None-Match names `etag`, or anything. Weakly: W/ before a tag does not matter here."""
    if condition is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in condition.split(",")}
    return "*" in tags or etag in tags


def part_of(form: Form, range_header: str | None, if_range: str | None) -> Part | None:
    """Return the part that is asked for, None for all of it. Raises UnsatisfiableError.

    By RFC 9110: what is no range of bytes, or several of them, is answered with all; so is a part of what is not what
    the client has (If-Range compares strongly, and dates match nothing, since none were sent).
    """
    if range_header is None or (if_range is not None and if_range.strip() != form.etag):
        return None
    match = _RANGE.fullmatch(range_header.strip().replace(" ", "").lower())
    if match is None:
        return None
    first, last, suffix = match.groups()
    size = form.size_bytes
    if suffix is not None:
        length = min(int(suffix), size)
        if length == 0:
            raise UnsatisfiableError
        return Part(size - length, length)
    start, end = int(first), size - 1 if last is None else min(int(last), size - 1)
    if last is not None and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableError
    return Part(start, end - start + 1)


# Of what was uploaded, and of what was made from it.
_FORMS = text("""
    WITH video AS (
        SELECT id, content_type, size_bytes, checksum_sha256 FROM videos
        WHERE id = :video_id AND deleted_at IS NULL AND (
            published_at IS NOT NULL OR EXISTS (
                SELECT FROM users
                WHERE users.id = CAST(:viewer_id AS uuid) AND (users.id = owner_id OR role = 'admin')
            )
        )
    )
    SELECT 'source' AS name, NULL AS key, size_bytes, checksum_sha256, content_type
    FROM video WHERE checksum_sha256 IS NOT NULL
    UNION ALL
    SELECT renditions.name, key, renditions.size_bytes, renditions.checksum_sha256, 'video/mp4'
    FROM renditions JOIN video ON video_id = video.id
""")
