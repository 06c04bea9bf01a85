"""Channels as the database has them: whose they are, whether they are meant to be live, what was recorded last.

The state is the owner's wish. Whether anybody sends is the origin's to know; the live service brings both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import Row, TextClause, text

from app.core.errors import ConflictError, NotFoundError
from app.core.resilience.single_flight import SingleFlight
from app.models import ChannelState
from app.services.accounts import denied
from app.services.media import source_key
from app.services.streaming import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from app.infrastructure.database import Database

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
# Its page would be hidden behind the list of all.
RESERVED = frozenset({"channels"})
MAX_PER_OWNER = 4
# Viewers of one channel share a look at its row for so long.
LINGER_S = 1.0
MAX_LINGERING = 1024
# The longest that the origin records: what a recording counts as until its length is known.
MAX_RECORDING_S = 60


@dataclass(frozen=True, slots=True)
class Recording:
    """The video that a channel's last recording became."""

    video_id: UUID
    duration_s: int
    form: Form


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """A channel. `recording` is None when there is none that can be shown."""

    name: str
    owner_id: UUID
    username: str
    state: ChannelState
    recording: Recording | None


class Channels:
    """Reads and changes channels."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: SingleFlight[ChannelRecord | None] = SingleFlight(
            linger_s=LINGER_S, max_lingering=MAX_LINGERING
        )

    async def find(self, name: str) -> ChannelRecord:
        """Return a channel, as it was at most a moment ago. Raises NotFoundError."""

        async def load() -> ChannelRecord | None:
            rows = await self._rows("select", _CHANNEL, name=name)
            return _record(rows[0]) if rows else None

        found = await self._found.do(name, load)
        if found is None:
            raise no_channel(name)
        return found

    async def page(self, limit: int, after: str) -> list[ChannelRecord]:
        """Return channels in the order of their names, from behind `after` on."""
        rows = await self._rows("select", _PAGE, count=limit, after=after)
        return [_record(row) for row in rows]

    async def named(self, names: Sequence[str]) -> list[ChannelRecord]:
        """Return those of these channels that there are, as they are now."""
        return [_record(row) for row in await self._rows("select", _NAMED, names=list(names))]

    async def claim(self, caller_id: UUID, name: str) -> bool:
        """Wish a channel live: a new one becomes the caller's. Tell whether it is new or was not wished live.

        Who may is decided by the roles and owners of this moment. Raises ForbiddenError, ConflictError.
        """
        if name in RESERVED:
            raise ConflictError(f"the name {name} is taken")
        values = {"id": uuid4(), "name": name, "caller_id": caller_id, "most": MAX_PER_OWNER}
        rows = await self._rows("insert", _CLAIM, **values)
        self._found.forget(name)
        if not rows:
            await self._refuse(caller_id, name)
        return bool(rows[0].before != ChannelState.LIVE)

    async def release(self, caller_id: UUID, name: str) -> ChannelRecord:
        """Wish a channel of the caller offline. Raises NotFoundError, ForbiddenError."""
        rows = await self._rows("update", _RELEASE, name=name, caller_id=caller_id)
        self._found.forget(name)
        channel = await self.find(name)
        if not rows:
            raise denied(caller_id, "only the owner of a channel may stop it")
        return channel

    async def keep_recording(self, name: str, video_id: UUID, duration_s: int) -> bool:
        """Make a video that is there the channel's last recording; tell whether that was news."""
        values = {"name": name, "video_id": video_id, "duration_s": duration_s}
        news = await self._rows("update", _KEEP, **values)
        self._found.forget(name)
        return bool(news)

    async def uploaded(self, video_ids: Sequence[UUID]) -> set[UUID]:
        """Return those of these videos whose uploads have come to their end."""
        rows = await self._rows("select", _UPLOADED, video_ids=list(video_ids))
        return {row.video_id for row in rows}

    async def _refuse(self, caller_id: UUID, name: str) -> None:
        """Say why a claim was refused."""
        rows = await self._rows("select", _WHY_NOT, name=name, caller_id=caller_id)
        if rows and rows[0].owner_id == caller_id:
            raise denied(caller_id, "only creators may send live")
        if rows and rows[0].owner_id is not None:
            raise denied(caller_id, "only the owner of a channel may start it")
        if rows and rows[0].role in {"creator", "admin"}:
            raise ConflictError(f"{MAX_PER_OWNER} channels are the most that one account may have")
        raise denied(caller_id, "only creators may send live")

    async def _rows(
        self, operation: str, statement: TextClause, **values: object
    ) -> Sequence[Row[Any]]:
        async def run(session: AsyncSession) -> Sequence[Row[Any]]:
            return (await session.execute(statement, values)).all()

        return await self._database.run(run, operation=operation, table="channels")


def no_channel(name: str) -> NotFoundError:
    """Return what is said of a channel that nobody has."""
    return NotFoundError(f"there is no channel {name}")


def _record(row: Row[Any]) -> ChannelRecord:
    recording = None
    if row.video_id is not None:
        form = Form(
            "source",
            source_key(row.video_id),
            row.size_bytes,
            row.checksum_sha256,
            row.content_type,
        )
        recording = Recording(row.video_id, row.duration_s or MAX_RECORDING_S, form)
    return ChannelRecord(row.name, row.owner_id, row.username, ChannelState(row.state), recording)


# ---- statements, built once ----

# The source of a recording can be shown as soon as it is stored: it was public while it was made.
_SHOWN = """
    SELECT channels.name, channels.owner_id, users.username, channels.state,
        videos.id AS video_id, duration_s, size_bytes, checksum_sha256, content_type
    FROM channels
    JOIN users ON users.id = channels.owner_id
    LEFT JOIN videos ON videos.id = last_recording_id AND videos.deleted_at IS NULL
        AND videos.status <> 'failed' AND checksum_sha256 IS NOT NULL
"""
_CHANNEL = text(f"{_SHOWN} WHERE channels.name = :name")
_PAGE = text(f"{_SHOWN} WHERE channels.name > :after ORDER BY channels.name LIMIT :count")
_NAMED = text(f"{_SHOWN} WHERE channels.name = ANY (:names)")

_CLAIM = text("""
    WITH before AS (SELECT state FROM channels WHERE name = :name)
    INSERT INTO channels AS channel (id, name, owner_id, state)
    SELECT CAST(:id AS uuid), CAST(:name AS text), users.id, 'live' FROM users
    WHERE users.id = :caller_id AND users.role IN ('creator', 'admin') AND (
        EXISTS (SELECT FROM before)
        OR (SELECT count(*) FROM channels WHERE owner_id = users.id) < CAST(:most AS int)
    )
    ON CONFLICT (name) DO UPDATE SET state = 'live', updated_at = now()
    WHERE channel.owner_id = excluded.owner_id
    RETURNING (SELECT state FROM before) AS before
""")

_WHY_NOT = text("""
    SELECT users.role, channels.owner_id
    FROM users LEFT JOIN channels ON channels.name = :name WHERE users.id = :caller_id
""")

_RELEASE = text("""
    UPDATE channels SET state = 'offline', updated_at = now()
    FROM users WHERE users.id = :caller_id AND channels.owner_id = users.id AND name = :name
    RETURNING name
""")

_KEEP = text("""
    WITH video AS (
        SELECT id FROM videos WHERE id = :video_id AND deleted_at IS NULL
    ), measured AS (
        UPDATE videos SET duration_s = CAST(:duration_s AS int) FROM video
        WHERE videos.id = video.id AND duration_s = 0
    )
    UPDATE channels SET last_recording_id = video.id, updated_at = now() FROM video
    WHERE name = :name AND last_recording_id IS DISTINCT FROM video.id
    RETURNING video.id
""")

_UPLOADED = text(
    "SELECT video_id FROM uploads WHERE state = 'done' AND video_id = ANY (:video_ids)"
)
