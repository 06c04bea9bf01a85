"""Uploaded videos become public, once each, whatever is killed and lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.app.worker.media import read
from tests.app.worker.world import Place, complete

if TYPE_CHECKING:
    from pathlib import Path


async def test_from_row_to_public(place: Place, clip: Path) -> None:
    """A row and its task become a public video: three renditions, a thumbnail, one effect, one id in all lines."""
    video_id = await place.upload(read(clip), correlation_id="the-request-that-asked")
    with place.worker() as worker, place.relay() as relay:
        assert await place.ended(video_id, worker, relay) == "published"
    assert await place.effects(video_id) == ["published"]
    assert place.objects_of(video_id) == complete(video_id)
