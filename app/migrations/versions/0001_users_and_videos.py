"""Users, videos and views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_users()
    _create_videos()
    _create_views()


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.String(32), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("password_hash", sa.String(256), nullable=True),
        sa.Column("role", sa.String(16), server_default="viewer", nullable=False),
        _created_at(),
        sa.CheckConstraint("role IN ('viewer', 'creator', 'admin')", name="role"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("username"),
    )
    op.create_index("uq_users_email_lower", "users", [sa.text("lower(email)")], unique=True)


def _create_videos() -> None:
    op.create_table(
        "videos",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), server_default="processing", nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        _created_at(),
        sa.CheckConstraint("duration_s >= 0", name="duration"),
        sa.CheckConstraint("status IN ('processing', 'published', 'failed')", name="status"),
        sa.CheckConstraint(
            "(status = 'published') = (published_at IS NOT NULL)", name="published_has_a_date"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_videos_owner_id", "videos", ["owner_id"])
    op.create_index(
        "ix_videos_published_at_id",
        "videos",
        [sa.text("published_at DESC"), sa.text("id DESC")],
        postgresql_where=sa.text("published_at IS NOT NULL"),
    )


def _create_views() -> None:
    op.create_table(
        "video_views",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column(
            "viewed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_video_views_video_id", "video_views", ["video_id"])
    op.create_index(
        "ix_video_views_viewed_at", "video_views", ["viewed_at"], postgresql_using="brin"
    )

    op.create_table(
        "video_view_counts",
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("views", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("shard >= 0 AND shard < 16", name="shard"),
        sa.CheckConstraint("views >= 0", name="views"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("video_id", "shard"),
        postgresql_with={"fillfactor": 50},
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("video_view_counts")
    op.drop_table("video_views")
    op.drop_table("videos")
    op.drop_table("users")


def _created_at() -> sa.Column[sa.DateTime]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
    )
