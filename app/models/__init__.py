"""What the backend keeps in PostgreSQL: users, videos and the views that they got."""

from app.models.base import Base
from app.models.user import Role, User
from app.models.video import Video, VideoStatus
from app.models.view import VIEW_SHARDS, VideoView, VideoViewCount

__all__ = [
    "VIEW_SHARDS",
    "Base",
    "Role",
    "User",
    "Video",
    "VideoStatus",
    "VideoView",
    "VideoViewCount",
]
