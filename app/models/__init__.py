"""What the backend keeps in PostgreSQL: accounts and what proves them, videos, the work on them, their views."""

from app.models.base import Base
from app.models.channel import Channel, ChannelState
from app.models.credential import RecoveryCode, RefreshToken, UserTotp
from app.models.processing import Effect, Processing, ProcessingEffect, Rendition
from app.models.upload import OutboxEntry, Task, Upload, UploadState
from app.models.user import Role, User
from app.models.video import Video, VideoStatus
from app.models.view import VIEW_SHARDS, VideoView, VideoViewCount

__all__ = [
    "VIEW_SHARDS",
    "Base",
    "Channel",
    "ChannelState",
    "Effect",
    "OutboxEntry",
    "Processing",
    "ProcessingEffect",
    "RecoveryCode",
    "RefreshToken",
    "Rendition",
    "Role",
    "Task",
    "Upload",
    "UploadState",
    "User",
    "UserTotp",
    "Video",
    "VideoStatus",
    "VideoView",
    "VideoViewCount",
]
