"""What must hold of acknowledged writes whatever failed: pure functions over receipts and final reads.

Each says how many writes it has looked at, and names everything that breaks it. What has no receipt may be there or
not, but never twice and never in part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.model.invariants import Facts, Invariant, Judgement
from scenarios import reads as rd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.model.reads import Row

UPLOAD = "upload"
VIEW = "view"
PUBLISHED = "published"
ONCE = 1
RENDITIONS = 3
OK = 200


def uploads_kept(facts: Facts) -> Judgement:
    """Judge that each acknowledged upload has its row, its object and its answer, with the bytes that were sent."""
    uploads = facts.of(UPLOAD)
    rows, objects, answers = (
        _by(facts.reads[name], "id") for name in (rd.UPLOADS.name, rd.SOURCES.name, rd.PLAYED.name)
    )
    lost: list[str] = []
    wrong: list[str] = []
    for id_, write in uploads.items():
        row, stored, answer = (part.get(id_, {}) for part in (rows, objects, answers))
        gone = [
            what
            for what, there in (
                ("row", row.get("status")),
                ("object", stored.get("sha256")),
                ("answer", answer.get("status") == OK),
            )
            if not there
        ]
        if gone:
            lost.append(f"upload {id_} has no {' and no '.join(gone)}")
        elif {row["checksum"], stored["sha256"], answer["sha256"]} != {write.checksum}:
            wrong.append(f"upload {id_} has other bytes than were sent")
    sentence = (
        f"{len(uploads)} uploads acknowledged, {len(uploads) - len(lost) - len(wrong)} readable with the right "
        f"checksum, {len(lost)} lost, {len(wrong)} corrupted"
    )
    return Judgement(len(uploads), sentence, (*lost, *wrong))


def processed_once(facts: Facts) -> Judgement:
    """Judge that each acknowledged upload was processed to one good end, and that no video had two ends."""
    uploads = facts.of(UPLOAD)
    rows = _by(facts.reads[rd.UPLOADS.name], "id")
    undone: list[str] = []
    doubled: list[str] = []
    for id_ in uploads:
        row = rows.get(id_, {})
        effects, alike = row.get("effects") or 0, row.get("alike") or 0
        if effects > ONCE:
            doubled.append(f"upload {id_} was processed {effects} times")
        elif alike > ONCE:
            doubled.append(f"upload {id_} is there as {alike} videos")
        elif effects < ONCE or row.get("status") != PUBLISHED or row["renditions"] != RENDITIONS:
            undone.append(
                f"upload {id_} is {row.get('status') or 'not there'} with {effects} effects and "
                f"{row.get('renditions') or 0} renditions"
            )
    doubled += [
        f"video {row['video_id']} was processed {row['effects']} times"
        for row in facts.reads[rd.EFFECTS.name]
        if row["video_id"] not in uploads
    ]
    sentence = (
        f"{len(uploads)} uploads acknowledged, {len(undone)} not processed, {len(doubled)} doubled"
    )
    return Judgement(len(uploads), sentence, (*undone, *doubled))


def nothing_stray(facts: Facts) -> Judgement:
    """Judge that every object belongs to a row, and every row that speaks of an object has it."""
    keys = {row["key"] for row in facts.reads[rd.OBJECTS.name]}
    known = {row["key"]: bool(row["required"]) for row in facts.reads[rd.ROWS.name]}
    orphans = [f"object {key} belongs to no row" for key in sorted(keys - known.keys())]
    dangling = [
        f"a row speaks of {key}, which is not there"
        for key, required in sorted(known.items())
        if required and key not in keys
    ]
    sentence = (
        f"{len(keys)} objects and {sum(known.values())} keys that rows promise, after "
        f"{len(facts.of(UPLOAD))} acknowledged uploads; {len(orphans)} orphans, {len(dangling)} dangling rows"
    )
    return Judgement(len(facts.of(UPLOAD)), sentence, (*orphans, *dangling))


def all_settled(facts: Facts) -> Judgement:
    """Judge that nothing is left to be done: outbox, work, intents, deletions and pinned objects."""
    unfinished = facts.reads[rd.UNFINISHED.name]
    pinned = facts.reads[rd.PINNED.name]
    left = [f"{row['what']} {row['subject']}" for row in unfinished]
    left += [f"{row['value']:g} objects are pinned" for row in pinned]
    sentence = (
        f"after {len(facts.of(UPLOAD))} acknowledged uploads {len(unfinished)} tasks and "
        f"{sum(row['value'] for row in pinned):g} pinned objects are left"
    )
    return Judgement(len(facts.of(UPLOAD)), sentence, tuple(left))


def views_conserved(facts: Facts) -> Judgement:
    """Judge that each acknowledged view is there once, on its video, and that counters and events moved alike.

    A view that was sent again with its own key makes no second event, so there are at most as many new events as
    first tries.
    """
    views = facts.of(VIEW)
    rows = _by(facts.reads[rd.VIEWS.name], "id")
    first = _by(facts.first[rd.TALLIES.name], "video_id")
    tallies = facts.reads[rd.TALLIES.name]
    nothing = {"counted": 0, "events": 0}
    lost = [
        f"view {id_} of {write.subject} is not there"
        for id_, write in views.items()
        if rows.get(id_, {}).get("video_id") != write.subject
    ]
    apart = [
        f"video {row['video_id']} counted {counted} views of {events} events"
        for row in tallies
        for before in (first.get(row["video_id"], nothing),)
        for counted, events in (
            (row["counted"] - before["counted"], row["events"] - before["events"]),
        )
        if counted != events
    ]
    events = sum(row["events"] for row in tallies) - sum(row["events"] for row in first.values())
    tries = facts.begun.get(VIEW, 0)
    more = events - tries
    doubled = [f"{events} events came of {tries} views that were tried"] if more > 0 else []
    sentence = (
        f"{len(views)} views acknowledged, {len(lost)} lost, {max(more, 0)} doubled; {events} new events of "
        f"{tries} tries, {len(apart)} videos counted otherwise"
    )
    return Judgement(len(views), sentence, (*lost, *doubled, *apart))


def _by(rows: Iterable[Row], column: str) -> dict[str, Row]:
    return {str(row[column]): row for row in rows}


INVARIANTS = (
    Invariant(
        "uploads-kept",
        "every acknowledged upload can be read, and has the bytes that were sent",
        (rd.UPLOADS.name, rd.SOURCES.name, rd.PLAYED.name),
        uploads_kept,
        journeys=("upload",),
    ),
    Invariant(
        "processed-once",
        "every acknowledged upload was processed exactly once",
        (rd.UPLOADS.name, rd.EFFECTS.name),
        processed_once,
        journeys=("upload",),
    ),
    Invariant(
        "nothing-stray",
        "there is no object without a row, and no row without its objects",
        (rd.OBJECTS.name, rd.ROWS.name),
        nothing_stray,
        journeys=("upload",),
    ),
    Invariant(
        "all-settled",
        "outbox, queue, intents and pinned objects are empty after the recovery",
        (rd.UNFINISHED.name, rd.PINNED.name),
        all_settled,
        journeys=("upload",),
    ),
    Invariant(
        "views-conserved",
        "every acknowledged view is there once, and counters equal events",
        (rd.VIEWS.name, rd.TALLIES.name),
        views_conserved,
        journeys=("view",),
    ),
)
