"""Accounts."""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamped, closed_set


class Role(StrEnum):
    """What an account may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    CREATOR = "creator"
    ADMIN = "admin"


class User(Timestamped, Base):
    """One account."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(32), unique=True)
    email: Mapped[str] = mapped_column(String(254))
    # The whole argon2id string, parameters and salt included. NULL means that no password was ever set, so
    # such an account cannot log in by one. An empty or invented hash would have to be told apart in code.
    password_hash: Mapped[str | None] = mapped_column(String(256))
    role: Mapped[Role] = mapped_column(closed_set(Role, "role"), server_default=Role.VIEWER.value)

    __table_args__ = (
        # One account per address, however it is spelled.
        Index("uq_users_email_lower", func.lower(email), unique=True),
        # The order of the administrators' list and of its cursor.
        Index("ix_users_created_at_id", text("created_at DESC"), text("id DESC")),
    )
