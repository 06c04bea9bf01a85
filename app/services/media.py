"""Where the object store keeps what belongs to a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


def thumbnail_key(video_id: UUID) -> str:
    """Return the key of a thumbnail: derived from the id, so that serving one does not need the database."""
    return f"thumbnails/{video_id}.png"
