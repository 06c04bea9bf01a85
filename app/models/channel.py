"""Live channels."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, closed_set


class ChannelState(StrEnum):
    """Whether somebody sends."""

    OFFLINE = "offline"
    LIVE = "live"


class Channel(Base):
    """A place where a creator sends live, and what was recorded last."""

    __tablename__ = "channels"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    state: Mapped[ChannelState] = mapped_column(
        closed_set(ChannelState, "state"), server_default=ChannelState.OFFLINE.value
    )
    last_recording_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("videos.id", ondelete="SET NULL"), index=True
    )
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
