"""What is read of Social Flow's stores when a run has ended: the evidence of its invariants."""

from __future__ import annotations

from chaos.model.reads import HttpDigest, MetricRead, ObjectDigest, ObjectList, SqlRead

BUCKET = "media"

UPLOADS = SqlRead(
    name="uploads",
    ids_of="upload",
    query="""
        SELECT wanted.id, videos.status, videos.checksum_sha256 AS checksum,
            (SELECT count(*) FROM processing_effects e WHERE e.video_id = videos.id) AS effects,
            (SELECT count(*) FROM renditions r WHERE r.video_id = videos.id) AS renditions,
            (SELECT count(*) FROM videos o WHERE o.checksum_sha256 = videos.checksum_sha256) AS alike
        FROM unnest($1::uuid[]) AS wanted (id)
        LEFT JOIN videos ON videos.id = wanted.id AND videos.deleted_at IS NULL
    """,
)
"""Each acknowledged upload: its row (all NULL without one), how often it was processed, how many videos are like it."""

EFFECTS = SqlRead(
    name="repeated effects",
    query="""
        SELECT video_id, count(*) AS effects FROM processing_effects
        GROUP BY video_id HAVING count(*) > 1
    """,
)
"""Videos that were processed more than once to an end, acknowledged or not."""

ROWS = SqlRead(
    name="keys",
    query="""
        SELECT 'sources/' || id AS key, checksum_sha256 IS NOT NULL AS required FROM videos
        UNION ALL SELECT key, true FROM renditions
        UNION ALL SELECT 'thumbnails/' || id || '.png', status = 'published' FROM videos
    """,
)
"""The keys that rows speak of; a required one must lead to an object."""

VIEWS = SqlRead(
    name="views",
    ids_of="view",
    query="SELECT id, video_id FROM video_views WHERE id = ANY ($1::uuid[])",
)
"""The events of the acknowledged views."""

TALLIES = SqlRead(
    name="tallies",
    opening=True,
    query="""
        SELECT videos.id AS video_id,
            (SELECT coalesce(sum(c.views), 0) FROM video_view_counts c
             WHERE c.video_id = videos.id)::bigint AS counted,
            (SELECT count(*) FROM video_views e WHERE e.video_id = videos.id) AS events
        FROM videos
    """,
)
"""What each video's counter says, beside how many events of it there are. Seeded views are counted without events."""

UNFINISHED = SqlRead(
    name="unfinished",
    query="""
        SELECT 'outbox' AS what, subject FROM outbox WHERE published_at IS NULL
        UNION ALL SELECT 'processing', id FROM videos
            WHERE status = 'processing' AND deleted_at IS NULL
        UNION ALL SELECT 'receiving', video_id FROM uploads WHERE state = 'receiving'
        UNION ALL SELECT 'deleting', id FROM videos WHERE deleted_at IS NOT NULL
        LIMIT 1000
    """,
)
"""What still has to be done, by kind."""

PINNED = MetricRead(name="pinned", component="app", port=9000, family="storage_spool_files")
"""Whether objects wait in the local store for their way to S3."""

OBJECTS = ObjectList(name="objects", bucket=BUCKET)
SOURCES = ObjectDigest(
    name="sources", bucket=BUCKET, key="sources/{id}", ids_of="upload", within_s=20
)
"""What the object store itself holds of each acknowledged upload."""

PLAYED = HttpDigest(
    name="played",
    component="app",
    port=8000,
    path="/api/v1/videos/{id}/stream?rendition=source",
    ids_of="upload",
    within_s=30,
)
"""What a visitor is given of each acknowledged upload."""

READS = (UPLOADS, EFFECTS, ROWS, VIEWS, TALLIES, UNFINISHED, PINNED, OBJECTS, SOURCES, PLAYED)
SETTLES = (UNFINISHED.name, PINNED.name)
"""The system is at rest when these give no row."""
