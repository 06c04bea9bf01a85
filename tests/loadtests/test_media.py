"""Claims about uploads, views, ranges and live viewing under load: what is sent, what is right, what is promised."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chaos.errors import HarnessError
from chaos.model.evidence import load_acknowledged
from loadtests.journeys import journey
from loadtests.live_room import LiveRoom
from loadtests.outcome import Answer
from loadtests.prepare import HOT, upload_hot
from loadtests.studio import (
    AGAIN_AFTER_S,
    CREATORS,
    REMEMBERED,
    RENEW_BEFORE_S,
    Studio,
    Tokens,
    content,
    make_clip,
    open_studio,
)
from loadtests.world import World
from tests.loadtests.driving import ask, generator, make_plan, server
from tests.loadtests.test_logins import Clock, dice

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.journeys.journey import Request

PARTS = "upload upload_again upload_status watch_upload watch_range view view_again"


def studio(clock: Clock | None = None) -> Studio:
    """Return a studio whose creators were never logged in."""
    clock = clock or Clock()
    tokens = Tokens("http://127.0.0.1:1", clock=clock)
    tokens._tokens = {name: (f"token-of-{name}", clock() + 600) for name in CREATORS}
    return Studio(b"\0\0\0\x08ftyp" * 100, tokens, clock)


def world(clock: Clock | None = None) -> World:
    """Return a world with a studio and a channel."""
    videos = tuple(f"v{n}" for n in range(20))
    return World(
        videos, studio=studio(clock), hot_ids=videos[:HOT], live_room=LiveRoom("a-channel")
    )


def receipt(request: Request, **changes: object) -> Answer:
    """Return the right answer to an upload, with changes."""
    assert request.upload is not None
    body = {
        "video_id": f"video-{request.key}",
        "status": "processing",
        "size_bytes": len(request.content),
        "checksum_sha256": request.upload.checksum,
    }
    return Answer(202, json.dumps(body | changes).encode())


def test_no_two_uploads_have_the_same_bytes_or_key() -> None:
    """Even the same draw in another load gives another key and other bytes, so no run meets the uploads of another."""
    sent = [
        journey("upload").prepare(w, dice(seed)) for w in (world(), world()) for seed in range(50)
    ]

    assert len({request.key for request in sent}) == len(sent)
    assert len({request.content for request in sent}) == len(sent)
    for request in sent:
        assert request.upload is not None
        assert request.upload.checksum == hashlib.sha256(request.content).hexdigest()
        assert dict(request.headers)["Authorization"] == f"Bearer token-of-{request.upload.owner}"
        assert dict(request.headers)["Content-Digest"] == request.upload.digest
    assert {request.upload.owner for request in sent if request.upload} == set(CREATORS)


def test_the_clip_is_a_small_real_video_and_stays_one_with_a_box_behind_it() -> None:
    """The clip is some tens of KB, begins as MP4 does, and the box that makes it unique is one that players skip."""
    clip = make_clip()
    whole = content(clip, b"x" * 16)

    assert 10_000 < len(clip) < 60_000
    assert make_clip() == clip
    assert clip[4:8] == b"ftyp"
    assert whole[: len(clip)] == clip
    assert whole[len(clip) :] == b"\0\0\0\x18free" + b"x" * 16


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, ""),
        ({"checksum_sha256": "0" * 64}, "other bytes"),
        ({"size_bytes": 3}, "another size"),
        ({"video_id": None}, "without video id"),
    ],
)
def test_a_receipt_is_for_what_was_sent(changes: dict[str, object], word: str) -> None:
    """Another checksum, another size or no video promise nothing."""
    request = journey("upload").prepare(world(), dice(1))
    complaint = journey("upload").complain(request, receipt(request, **changes))

    assert word in complaint
    assert bool(word) == bool(complaint)
    assert journey("upload").complain(request, Answer(202, b"<html>")) == "no receipt"


def test_a_right_receipt_is_a_promise_with_all_that_can_be_looked_up() -> None:
    """Kind, id, checksum and key of an upload; kind, id and video of a view; nothing for who only reads."""
    upload = journey("upload").prepare(world(), dice(1))
    view = journey("view").prepare(world(), dice(1))
    promised = journey("upload").promise(upload, receipt(upload), 3.5)
    seen = journey("view").promise(view, Answer(202), 4.5)

    assert promised is not None
    assert seen is not None
    assert upload.upload is not None
    assert (promised.t_s, promised.kind, promised.id) == (3.5, "upload", f"video-{upload.key}")
    assert (promised.checksum, promised.idempotency_key) == (upload.upload.checksum, upload.key)
    assert (seen.kind, seen.id, seen.subject) == ("view", view.key, view.subject)
    assert journey("watch_page").promise(view, Answer(200), 5.0) is None


def test_an_upload_is_sent_again_with_its_own_key_and_bytes() -> None:
    """Only one whose client has its answer or has given up; before there is one, something new is sent."""
    clock = Clock()
    here = world(clock)
    first = journey("upload").prepare(here, dice(1))
    fresh = journey("upload_again").prepare(here, dice(2))
    clock.now_s += AGAIN_AFTER_S
    again = journey("upload_again").prepare(here, dice(3))

    assert fresh.key != first.key
    assert again.key in {first.key, fresh.key}
    assert again.content == {r.key: r for r in (first, fresh)}[again.key].content


def test_an_upload_sent_again_must_be_the_same_video() -> None:
    """A second receipt that names another video is an error: the upload was doubled."""
    request = journey("upload").prepare(world(), dice(1))
    assert request.upload is not None
    known = replace(request, upload=replace(request.upload, video_id="the-first"))

    assert journey("upload_again").complain(known, receipt(known)) == "another video than at first"
    assert not journey("upload_again").complain(known, receipt(known, video_id="the-first"))


def test_a_view_is_sent_again_with_its_own_key() -> None:
    """Every one of the latest views, acknowledged or not, may come again; before there is one, a page is looked at."""
    here = world()
    nothing = journey("view_again").prepare(here, dice(1))
    view = journey("view").prepare(here, dice(2))
    again = journey("view_again").prepare(here, dice(3))

    assert (nothing.method, nothing.key) == ("GET", "")
    assert journey("view_again").promise(nothing, Answer(200), 1.0) is None
    assert again == view
    for seed in range(2 * REMEMBERED):
        journey("view").prepare(here, dice(seed))
    assert len(here.views) == REMEMBERED


def kept(here: World, seed: int) -> Request:
    """Upload, and learn that it was acknowledged."""
    request = journey("upload").prepare(here, dice(seed))
    journey("upload").learn(here, request, receipt(request))
    return request


def test_each_upload_is_asked_about_in_its_turn_until_it_is_ready() -> None:
    """Three waiting ones are asked about one after the other; what was seen ready is asked about no more."""
    here = world()
    assert journey("upload_status").prepare(here, dice(1)).upload is None
    videos = {f"video-{kept(here, seed).key}" for seed in range(3)}
    asked = [journey("upload_status").prepare(here, dice(seed)) for seed in range(3)]
    body = json.dumps({"id": asked[0].subject, "status": "published", "renditions": [1]}).encode()
    journey("upload_status").learn(here, asked[0], Answer(200, body))
    later = {journey("upload_status").prepare(here, dice(seed)).subject for seed in range(6)}

    assert {request.subject for request in asked} == videos
    assert later == videos - {asked[0].subject}
    assert all("Authorization" in dict(request.headers) for request in asked)


@pytest.mark.parametrize(
    ("status", "renditions", "word"),
    [
        ("processing", [], ""),
        ("published", [1, 2, 3], ""),
        ("published", [], "without renditions"),
        ("failed", [], "that is failed"),
        (None, [], "neither ready nor on its way"),
    ],
)
def test_a_good_clip_is_on_its_way_or_ready(
    status: object, renditions: list[int], word: str
) -> None:
    """A status that is failed or unknown is wrong, for every clip of ours is a good one."""
    here = world()
    kept(here, 1)
    request = journey("upload_status").prepare(here, dice(1))
    body = {"id": request.subject, "status": status, "renditions": renditions}
    complaint = journey("upload_status").complain(request, Answer(200, json.dumps(body).encode()))

    assert word in complaint
    assert bool(word) == bool(complaint)


def test_an_upload_that_is_read_back_must_be_what_was_sent() -> None:
    """The same bytes are right; one bit, or none, is not."""
    here = world()
    sent = kept(here, 1)
    request = journey("watch_upload").prepare(here, dice(1))
    complain = journey("watch_upload").complain

    assert request.path.endswith("/stream?rendition=source")
    assert not complain(request, Answer(200, sent.content))
    assert complain(request, Answer(200, b"\1" + sent.content[1:])) == "other bytes than were sent"
    assert complain(request, Answer(200, b"")) == "no bytes"


def test_what_is_remembered_has_a_bound() -> None:
    """A thousand uploads leave no more behind than the bound, the latest."""
    here = world()
    for seed in range(REMEMBERED + 50):
        kept(here, seed)
    there = here.creators()

    assert len(there._begun) == len(there._kept) == len(there._waiting) == REMEMBERED


def test_a_load_without_a_studio_says_so() -> None:
    """A journey that uploads in a load that prepared none is a fault of the harness, in one line."""
    with pytest.raises(HarnessError, match="no studio"):
        journey("upload").prepare(World(("v1",)), dice(1))
    with pytest.raises(HarnessError, match="no channel"):
        journey("live_playlist").prepare(World(("v1",)), dice(1))
    with pytest.raises(HarnessError, match="no hot videos"):
        journey("watch_range").prepare(World(("v1",)), dice(1))


def test_tokens_are_renewed_before_they_end_and_kept_when_that_fails() -> None:
    """Young ones are not asked for again; near their end all are renewed; a server that is away costs nothing."""
    clock = Clock()
    with server("good") as host:
        tokens = Tokens(host, clock=clock)
        tokens.fetch()
        before = [s for s in ask(f"{host}/seen") if s["asked"].endswith("/login")]
        assert tokens.renew() == 0
        assert len(ask(f"{host}/seen")) == len(before) == len(CREATORS)
        clock.now_s += 600 - RENEW_BEFORE_S
        assert tokens.renew() == 0
        assert len(ask(f"{host}/seen")) == 2 * len(CREATORS)
        clock.now_s += 600
        tokens.host = "http://127.0.0.1:1"
    assert tokens.renew() == len(CREATORS)
    assert tokens.of(CREATORS[0]) == f"token-of-{CREATORS[0]}"


def test_creators_who_are_not_let_in_end_the_load_before_it_begins() -> None:
    """One line that names account, address and the command that mends it."""
    with pytest.raises(HarnessError, match="amber-harbour could not log in: POST http"):
        Tokens("http://127.0.0.1:1").fetch()


@pytest.mark.live
def test_a_load_that_writes_has_a_receipt_for_every_write_that_went_well(tmp_path: Path) -> None:
    """Against a server that keeps them: each good upload and view is a receipt, by the key that was really sent."""
    plan = make_plan(80, 4, journeys=PARTS)
    with server("good") as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()
        seen = [s for s in ask(f"{host}/seen") if s["id"]]
    arrivals = load.arrivals()
    receipts = load_acknowledged(tmp_path)
    writes = arrivals[arrivals["journey"].isin(("upload", "upload_again", "view"))]
    sent = {s["key"]: s["body"].encode("latin-1") for s in seen if s["asked"].startswith("POST")}
    kinds = Counter(write.kind for write in receipts)

    assert set(arrivals["class"]) == {"ok"}
    assert kinds["upload"] + kinds["view"] >= len(writes) > 50
    for write in receipts:
        assert write.idempotency_key in sent
        if write.kind == "upload":
            assert hashlib.sha256(sent[write.idempotency_key]).hexdigest() == write.checksum
    assert len({w.id for w in receipts if w.kind == "upload"}) == len(
        {w.idempotency_key for w in receipts if w.kind == "upload"}
    )
    assert "token-of-" not in (tmp_path / "arrivals.jsonl").read_text() + load.said()


@pytest.mark.live
@pytest.mark.parametrize(
    ("mode", "kind"), [("lie", "error"), ("error", "error"), ("slam", "error")]
)
def test_what_was_not_answered_well_is_no_promise(tmp_path: Path, mode: str, kind: str) -> None:
    """Wrong receipts, 503 and closed connections leave bad arrivals and not a single receipt."""
    plan = make_plan(40, 2, journeys=f"{PARTS} live_playlist live_segment")
    with server(mode) as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()

    assert set(load.arrivals()["class"]) == {kind}
    assert (tmp_path / "acknowledged.jsonl").read_bytes() == b""


@pytest.mark.live
def test_hot_videos_are_there_before_the_load_begins_and_are_the_same_for_the_next(
    tmp_path: Path,
) -> None:
    """A load uploads its few hot videos and waits until they are ready; a second load gets the very same."""
    with server("good") as host:
        there = open_studio(host)
        ids = upload_hot(host, there)
        again = upload_hot(host, open_studio(host))
        sent = [s for s in ask(f"{host}/seen") if s["asked"].startswith("POST /api/v1/videos")]

    assert len(set(ids)) == HOT
    assert again == ids
    assert len(sent) == 2 * HOT
