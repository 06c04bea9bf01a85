"""What the backend keeps in PostgreSQL: users and what proves them, videos and the views that they got."""

from app.models.base import Base
from app.models.credential import RecoveryCode, RefreshToken, UserTotp
from app.models.user import Role, User
from app.models.video import Video, VideoStatus
from app.models.view import VIEW_SHARDS, VideoView, VideoViewCount

__all__ = [
    "VIEW_SHARDS",
    "Base",
    "RecoveryCode",
    "RefreshToken",
    "Role",
    "User",
    "UserTotp",
    "Video",
    "VideoStatus",
    "VideoView",
    "VideoViewCount",
]
