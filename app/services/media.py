"""Where the object store keeps what belongs to a video: keys follow from ids alone, never from what a caller typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

RENDITIONS = ("1080p", "720p", "480p")


def source_key(video_id: UUID) -> str:
    """Return the key of the file that was uploaded."""
    return f"sources/{video_id}"


def rendition_key(video_id: UUID, name: str) -> str:
    """Return the key of a rendition, `name` being one of `RENDITIONS`."""
    return f"renditions/{video_id}/{name}.mp4"


def thumbnail_key(video_id: UUID) -> str:
    """Return the key of a thumbnail: derived from the id, so that serving one does not need the database."""
    return f"thumbnails/{video_id}.png"


def recording_key(channel: str, recording_id: UUID) -> str:
    """Return the key of a recording of a live channel, whose name is of a form that is safe in a path."""
    return f"recordings/{channel}/{recording_id}.mp4"


def object_keys(video_id: UUID) -> tuple[str, ...]:
    """Return every key under which something of a video may be kept."""
    renditions = (rendition_key(video_id, name) for name in RENDITIONS)
    return (source_key(video_id), *renditions, thumbnail_key(video_id))
