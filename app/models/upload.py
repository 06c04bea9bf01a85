"""Intents to store an upload, and the tasks that rows ask for."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Integer, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.context import current
from app.models.base import Base, Timestamped, closed_set


class UploadState(StrEnum):
    """How far an upload is: bytes may be in the store without a video, or the video is acknowledged."""

    RECEIVING = "receiving"
    DONE = "done"


class Upload(Timestamped, Base):
    """The intent to store one upload, written before its object is, so that what is left behind can be found.

    `fingerprint` (hex SHA-256 of the bytes) says which content may be stored under the key: the first that asks. A row
    that is RECEIVING and was not touched for a while belongs to nobody. Whoever settles it must hold its row lock from
    before the object is deleted until the row is, so that no upload becomes DONE in between.
    """

    __tablename__ = "uploads"

    owner_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    idempotency_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    # Follows from owner and key, and exists before the video does: no foreign key. Nor a second unique index: of two
    # attempts at the same moment one would break that rule, where the key's finds the other's row.
    video_id: Mapped[UUID] = mapped_column(index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    state: Mapped[UploadState] = mapped_column(
        closed_set(UploadState, "state"), server_default=UploadState.RECEIVING.value
    )
    # Renewed for as long as the upload is alive.
    touched_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (
        Index("ix_uploads_receiving", touched_at, postgresql_where=text("state = 'receiving'")),
    )


class Task(StrEnum):
    """What can be asked for through the outbox."""

    PROCESS_VIDEO = "process_video"
    DELETE_OBJECTS = "delete_objects"


def _correlation_id() -> str | None:
    context = current.get()
    return context.correlation_id if context is not None else None


class OutboxEntry(Timestamped, Base):
    """A task that the transaction of this row asked for. The relay gives it to the queue, once or more."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task: Mapped[Task] = mapped_column(closed_set(Task, "task"))
    # A video. Kept when the video goes, which is what DELETE_OBJECTS leads to: no foreign key.
    subject: Mapped[UUID] = mapped_column(index=True)
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    publish_attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    # Of the request that asked, so that the work can be found by the same id.
    correlation_id: Mapped[str | None] = mapped_column(String(128), default=_correlation_id)

    __table_args__ = (
        Index("ix_outbox_unpublished", "id", postgresql_where=text("published_at IS NULL")),
    )
