"""Claims about parts of videos and live viewing: what is asked for, and what is a right answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from loadtests.journeys import journey
from loadtests.live_room import LiveRoom, files_of
from loadtests.outcome import Answer
from loadtests.prepare import HOT
from loadtests.world import World
from tests.loadtests.driving import ask, generator, make_plan, server
from tests.loadtests.test_logins import dice

if TYPE_CHECKING:
    from pathlib import Path


def world() -> World:
    """Return a world with a few hot videos and a channel."""
    videos = tuple(f"v{n}" for n in range(20))
    return World(videos, hot_ids=videos[:HOT], live_room=LiveRoom("a-channel"))


@pytest.mark.parametrize(
    ("told", "count", "word"),
    [
        ("bytes {0}-{1}/1000000", 0, ""),
        ("bytes {0}-9999/10000", None, ""),
        ("bytes {0}-{1}/1000000", -1, "not as many"),
        ("bytes 0-5/1000000", 6, "another range"),
        ("", 0, "no content range"),
    ],
)
def test_a_part_is_the_part_that_was_asked_for(told: str, count: int | None, word: str) -> None:
    """Content-Range must be what was asked, cut at the end of the file, and the body as long as it says."""
    request = journey("watch_range").prepare(world(), dice(3))
    first, last = map(int, request.subject.split("-"))
    length = (10_000 - first) if count is None else last - first + 1 + count
    answer = Answer(206, b"x" * length, content_range=told.format(first, last))
    complaint = journey("watch_range").complain(request, answer)

    assert dict(request.headers)["Range"] == f"bytes={request.subject}"
    assert word in complaint
    assert bool(word) == bool(complaint)


def test_few_videos_are_hot() -> None:
    """Parts are asked of a few videos only, so that the first seconds of a load bring each of them close."""
    here = world()
    paths = {journey("watch_range").prepare(here, dice(seed)).path for seed in range(300)}

    assert len(paths) == HOT


LIVE = b"#EXTM3U\n#EXTINF:1,\nsegments/7.ts\n#EXTINF:1,\nsegments/8.ts\n"
VOD = b"#EXTM3U\n#EXTINF:3,\nsegments/abc.mp4\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("body", "degraded", "word"),
    [
        (LIVE, "", ""),
        (VOD, "live", ""),
        (VOD, "", "called live"),
        (b"#EXTM3U\n", "", "without files"),
        (b"<html>", "live", "no playlist"),
    ],
)
def test_a_playlist_says_when_it_is_not_live(body: bytes, degraded: str, word: str) -> None:
    """The recording of before is right only where the answer says that live is degraded."""
    request = journey("live_playlist").prepare(world(), dice(1))
    complaint = journey("live_playlist").complain(request, Answer(200, body, degraded=degraded))

    assert word in complaint
    assert bool(word) == bool(complaint)


@pytest.mark.parametrize(
    ("playlist", "status", "body", "degraded", "word"),
    [
        (LIVE, 200, b"\x47" + bytes(187), "", ""),
        (LIVE, 200, b"\x47" + bytes(100), "", "no transport stream"),
        (LIVE, 404, b"{}", "live", ""),
        (LIVE, 404, b"{}", "", "is gone"),
        (VOD, 200, b"\0\0\0\x08ftypisom", "live", ""),
        (VOD, 200, b"<html>", "live", "no MP4"),
    ],
)
def test_a_file_of_a_playlist_is_what_it_is_named(
    playlist: bytes, status: int, body: bytes, degraded: str, word: str
) -> None:
    """A segment is a transport stream, a recording an MP4; one that is gone is right only while live is degraded."""
    here = world()
    asked = journey("live_playlist").prepare(here, dice(1))
    journey("live_playlist").learn(here, asked, Answer(200, playlist))
    request = journey("live_segment").prepare(here, dice(1))
    complaint = journey("live_segment").complain(request, Answer(status, body, degraded=degraded))

    assert request.path.rpartition("segments/")[2] in playlist.decode()
    assert word in complaint
    assert bool(word) == bool(complaint)


def test_addresses_in_a_playlist_are_found() -> None:
    """Lines that are no tags and not empty, in their order."""
    assert files_of(LIVE) == ["segments/7.ts", "segments/8.ts"]
    assert files_of(b"#EXTM3U\r\n\r\n") == []


@pytest.mark.live
def test_no_channel_is_waited_for_where_live_is_switched_off(tmp_path: Path) -> None:
    """It never would be on the air; viewers ask for it all the same, and get its recording."""
    plan = make_plan(40, 2, journeys="live_playlist")
    with server("live-off") as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()

    assert set(load.arrivals()["class"]) == {"ok"}


def test_a_channel_is_on_the_air_before_the_load_begins(tmp_path: Path) -> None:
    """One that is live and was recorded is chosen, and its playlist asked for until it is on the air."""
    plan = make_plan(40, 2, journeys="live_playlist live_segment")
    with server("good") as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()
        asked = [s["asked"] for s in ask(f"{host}/seen") if "/live/" in s["asked"] and not s["id"]]

    assert asked[:2] == ["GET /api/v1/live/channels", "GET /api/v1/live/seen-live/index.m3u8"]
    assert asked.count("GET /api/v1/live/seen-live") == 2
    assert set(load.arrivals()["class"]) == {"ok"}
