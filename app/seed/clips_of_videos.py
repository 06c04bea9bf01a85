"""What can be watched of the seeded videos: small clips, no two with the same bytes, the same bytes in every run."""

from __future__ import annotations

import hashlib
import io
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.bucket import store_client
from app.seed.clips import make_clip
from app.services.media import source_key

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from app.core.config import Settings
    from app.seed.world import World

TYPE = "video/mp4"
# Different pictures; what makes each video's bytes its own is a box at the end, which players skip.
PICTURES = 4
FIRST_SEED = 1000
UPLOADERS = 8

_CLIPS = """
    UPDATE videos SET size_bytes = clip.size_bytes, checksum_sha256 = clip.checksum, content_type = $4
    FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS clip (id, size_bytes, checksum)
    WHERE videos.id = clip.id AND checksum_sha256 IS NULL
"""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip that is in the store."""

    video_id: UUID
    size_bytes: int
    checksum_sha256: str


def store_clips(settings: Settings, world: World) -> tuple[StoredClip, ...]:
    """Store what is not there of the videos that are no recordings."""
    recordings = {channel.recording_id for channel in world.channels}
    videos = [video.id for video in world.videos if video.id not in recordings]
    client = store_client(settings, connections=UPLOADERS)
    bucket = settings.s3_bucket
    there = {
        item.object_name: (item.etag or "").strip('"')
        for item in client.list_objects(bucket, prefix="sources/", recursive=True)
    }
    pictures = _pictures()

    def store(number: int, video_id: UUID) -> StoredClip:
        clip = pictures[number % PICTURES] + _own_box(video_id)
        checksum = hashlib.sha256(clip).hexdigest()
        key = source_key(video_id)
        if there.get(key) != hashlib.md5(clip, usedforsecurity=False).hexdigest():
            client.put_object(
                *(bucket, key, io.BytesIO(clip), len(clip)),
                content_type=TYPE,
                metadata={"sha256": checksum},
            )
        return StoredClip(video_id, len(clip), checksum)

    with ThreadPoolExecutor(UPLOADERS) as threads:
        return tuple(threads.map(store, range(len(videos)), videos))


async def write_clips(connection: asyncpg.Connection, clips: tuple[StoredClip, ...]) -> None:
    """Write what the rows say of them; what they say already stays."""
    await connection.execute(
        _CLIPS,
        [clip.video_id for clip in clips],
        [clip.size_bytes for clip in clips],
        [clip.checksum_sha256 for clip in clips],
        TYPE,
    )


def _pictures() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        paths = [Path(folder) / f"{number}.mp4" for number in range(PICTURES)]

        def make(number: int) -> bytes:
            make_clip(paths[number], seed=FIRST_SEED + number)
            return paths[number].read_bytes()

        return list(threads.map(make, range(PICTURES)))


def _own_box(video_id: UUID) -> bytes:
    return (8 + len(video_id.bytes)).to_bytes(4, "big") + b"free" + video_id.bytes
