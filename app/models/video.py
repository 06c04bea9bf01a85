"""Videos."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamped, closed_set


class VideoStatus(StrEnum):
    """How far a video is on its way from upload to the public."""

    PROCESSING = "processing"
    PUBLISHED = "published"
    FAILED = "failed"


class Video(Timestamped, Base):
    """One video. It is public from the moment it has a `published_at` until it has a `deleted_at`."""

    __tablename__ = "videos"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text, server_default="")
    # 0 until the work on an upload has measured it.
    duration_s: Mapped[int]
    status: Mapped[VideoStatus] = mapped_column(
        closed_set(VideoStatus, "status"), server_default=VideoStatus.PROCESSING.value
    )
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Of the file that was uploaded; the type is what its bytes say. All NULL for a video without such a file.
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    content_type: Mapped[str | None] = mapped_column(Text)
    checksum_sha256: Mapped[str | None] = mapped_column(String(64))
    failure_reason: Mapped[str | None] = mapped_column(Text)
    # From then on nobody sees it; the row goes when its objects are gone.
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint("duration_s >= 0", name="duration"),
        CheckConstraint("size_bytes > 0", name="size"),
        CheckConstraint(
            "(status = 'published') = (published_at IS NOT NULL)", name="published_has_a_date"
        ),
        # The order of the public list and of its cursor.
        Index(
            "ix_videos_published_at_id",
            text("published_at DESC"),
            text("id DESC"),
            postgresql_where=text("published_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        # The order of an owner's own list and of its cursor.
        Index(
            "ix_videos_owner_id_created_at_id",
            "owner_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
        # What is to be worked on, and what is to be cleared away.
        Index(
            "ix_videos_processing",
            "created_at",
            postgresql_where=text("status = 'processing' AND deleted_at IS NULL"),
        ),
        Index(
            "ix_videos_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")
        ),
    )
