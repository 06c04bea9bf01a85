"""What proves who somebody is, beside the password: two-factor secrets, recovery codes, refresh tokens.

Nothing here opens an account by itself: secrets are sealed, codes and tokens are kept as keyed digests.
"""
# ruff: noqa: TC003 - SQLAlchemy reads annotations at run time

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Timestamped


class UserTotp(Timestamped, Base):
    """The two-factor secret of an account. It asks for codes from the moment it has a `confirmed_at`."""

    __tablename__ = "user_totp"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    confirmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # The newest 30 s step whose code was accepted. Only later ones are, so no code is accepted twice.
    last_step: Mapped[int] = mapped_column(BigInteger, server_default="0")


class RecoveryCode(Base):
    """One of the codes for the day on which the authenticator is lost."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class RefreshToken(Timestamped, Base):
    """A refresh token. Each is used once and followed by another of its family, which is one session."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    family_id: Mapped[UUID] = mapped_column(index=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    # Whether a two-factor code began this session. One that began without ends when codes are asked for.
    with_code: Mapped[bool] = mapped_column(server_default="false")
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (CheckConstraint("octet_length(digest) = 32", name="digest"),)
