"""Videos."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamped, closed_set


class VideoStatus(StrEnum):
    """How far a video is on its way from upload to the public."""

    PROCESSING = "processing"
    PUBLISHED = "published"
    FAILED = "failed"


class Video(Timestamped, Base):
    """One video. It is public from the moment it has a `published_at`."""

    __tablename__ = "videos"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text, server_default="")
    duration_s: Mapped[int]
    status: Mapped[VideoStatus] = mapped_column(
        closed_set(VideoStatus, "status"), server_default=VideoStatus.PROCESSING.value
    )
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint("duration_s >= 0", name="duration"),
        CheckConstraint(
            "(status = 'published') = (published_at IS NOT NULL)", name="published_has_a_date"
        ),
        # The order of the public list and of its cursor.
        Index(
            "ix_videos_published_at_id",
            text("published_at DESC"),
            text("id DESC"),
            postgresql_where=text("published_at IS NOT NULL"),
        ),
    )
