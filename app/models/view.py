"""Views of videos: the events, and their count."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base

VIEW_SHARDS = 16


class VideoView(Base):
    """One view. Its id is what the viewer's acknowledgement names, so each promise can be looked up."""

    __tablename__ = "video_views"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), index=True)
    viewed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (
        # Rows are only ever appended, so a few bytes per block find a range of time.
        Index("ix_video_views_viewed_at", viewed_at, postgresql_using="brin"),
    )


class VideoViewCount(Base):
    """A part of a video's number of views; the number is the sum of its shards.

    Counting events would cost more with every view. One counter row would make all viewers of a popular video
    wait for each other's commit, which a slow network to the database stretches. Over 16 rows they rarely meet.
    """

    __tablename__ = "video_view_counts"

    video_id: Mapped[UUID] = mapped_column(
        ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True
    )
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    views: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        CheckConstraint(f"shard >= 0 AND shard < {VIEW_SHARDS}", name="shard"),
        CheckConstraint("views >= 0", name="views"),
        # Room on each page for the next version of a row, so that a count need not touch the index.
        {"postgresql_with": {"fillfactor": 50}},
    )
