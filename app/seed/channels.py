"""Seeded channels, and the recordings that they show while nobody sends."""

from __future__ import annotations

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minio.error import S3Error

from app.bucket import store_client
from app.seed.clips import make_clip
from app.seed.world import RECORDING_S
from app.services.media import source_key

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg
    from minio import Minio

    from app.core.config import Settings
    from app.seed.world import World

TYPE = "video/mp4"

_RECORDING = """
    UPDATE videos SET size_bytes = $2, checksum_sha256 = $3, content_type = $4
    WHERE id = $1 AND checksum_sha256 IS NULL
"""
_CHANNELS = """
    INSERT INTO channels (id, name, owner_id, state, last_recording_id)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::uuid[])
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """A recording that is in the store."""

    video_id: UUID
    size_bytes: int
    checksum_sha256: str


def store_recordings(settings: Settings, world: World) -> tuple[StoredRecording, ...]:
    """Make the channels' recordings and store those that are not there: the same bytes in every run."""
    client = store_client(settings, connections=len(world.channels))

    def store(number: int, video_id: UUID) -> StoredRecording:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recording.mp4"
            make_clip(path, seed=number, seconds=RECORDING_S)
            stored = StoredRecording(
                video_id, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
            )
            if not _is_there(client, settings.s3_bucket, stored):
                client.fput_object(
                    settings.s3_bucket,
                    source_key(video_id),
                    str(path),
                    content_type=TYPE,
                    metadata={"sha256": stored.checksum_sha256},
                )
        return stored

    with ThreadPoolExecutor(len(world.channels)) as threads:
        ids = [channel.recording_id for channel in world.channels]
        return tuple(threads.map(store, range(len(ids)), ids))


async def write_channels(
    connection: asyncpg.Connection, world: World, recordings: tuple[StoredRecording, ...]
) -> None:
    """Write the rows; those that are there stay as they are."""
    for each in recordings:
        await connection.execute(
            _RECORDING, each.video_id, each.size_bytes, each.checksum_sha256, TYPE
        )
    rows = [
        (c.id, c.name, c.owner_id, "live" if c.live else "offline", c.recording_id)
        for c in world.channels
    ]
    await connection.execute(_CHANNELS, *([*column] for column in zip(*rows, strict=True)))


def _is_there(client: Minio, bucket: str, recording: StoredRecording) -> bool:
    try:
        found = client.stat_object(bucket, source_key(recording.video_id))
    except S3Error:
        return False
    return found.size == recording.size_bytes
