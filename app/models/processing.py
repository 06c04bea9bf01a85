"""The work on a video: who does it, what came of it, and the proof that it came once."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Integer,
    String,
    Text,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, closed_set


class Processing(Base):
    """The work on one video. Whoever holds the lease does it; a lease that ran out may be taken."""

    __tablename__ = "processings"

    video_id: Mapped[UUID] = mapped_column(
        ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True
    )
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    stage: Mapped[str | None] = mapped_column(Text)
    last_error: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Effect(StrEnum):
    """How the work on a video ended."""

    PUBLISHED = "published"
    FAILED = "failed"


class ProcessingEffect(Base):
    """One end of the work on a video, written in the transaction that changed the video's status. Append-only.

    There is no rule that a video has only one: the number is the proof of "exactly once", and a rule would hide a
    second. It outlives the video, as proofs do: no foreign key.
    """

    __tablename__ = "processing_effects"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    video_id: Mapped[UUID] = mapped_column(index=True)
    effect: Mapped[Effect] = mapped_column(closed_set(Effect, "effect"))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Rendition(Base):
    """One of the forms in which a video can be watched."""

    __tablename__ = "renditions"

    video_id: Mapped[UUID] = mapped_column(
        ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    height: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    checksum_sha256: Mapped[str] = mapped_column(String(64))

    __table_args__ = (CheckConstraint("height > 0 AND size_bytes > 0", name="has_a_size"),)
