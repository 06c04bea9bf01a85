"""The live origin serves real HLS, keeps its channels live over deaths, and leaves no encoder behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import imageio_ffmpeg
import psutil
import pytest

from compose.standins.live_origin.channels import KEPT_RECORDINGS, MAX_LIVE, MAX_RESTARTS
from compose.standins.live_origin.clip import CLIP_MS, ClipError, make_clip, read_clip
from compose.standins.live_origin.encoder import KEPT_SEGMENTS, LISTED_SEGMENTS, segments
from tests.compose.living_origin import KEY, WAIT_S, Origin, until
from tests.compose.promtool import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
END_S = 2.0
"""Within this an origin that is ended has ended its encoders."""
TS_PACKET_BYTES = 188


def decode(*source: str, media: bytes | None = None) -> str:
    """Decode all of a source with ffmpeg, strictly; return what it says of the last frame."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-xerror", *source, "-f", "null", "-"],
        input=media,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    said = done.stderr.decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture
async def origin(tmp_path: Path) -> AsyncIterator[Origin]:
    """A living origin without channels."""
    origin = Origin(tmp_path / "live")
    try:
        await origin.start()
        yield origin
    finally:
        origin.end()


async def test_a_live_playlist_advances(origin: Origin) -> None:
    """A started channel is playable at once, its window moves on, and it is never longer than six segments."""
    assert (await origin.json("PUT", "/channels/one", status=201))["state"] == "live"
    first = await origin.listed("one")
    assert first

    async def moved_on() -> bool:
        return first[0] not in await origin.listed("one")

    await until(moved_on)
    window = [int(name.removesuffix(".ts")) for name in await origin.listed("one")]
    assert len(window) == LISTED_SEGMENTS
    assert window == list(range(window[0], window[0] + LISTED_SEGMENTS))
    _, playlist = await origin.ask("GET", "/live/one/index.m3u8")
    assert b"#EXT-X-PROGRAM-DATE-TIME:" in playlist
    assert b"#EXT-X-ENDLIST" not in playlist
    assert b"#EXT-X-DISCONTINUITY" not in playlist


async def test_segments_are_valid_transport_streams(origin: Origin) -> None:
    """Each segment is whole MPEG-TS packets, decodes alone, and together they are one stream of 10 frames a second."""
    await origin.json("PUT", "/channels/one", status=201)

    async def three() -> bool:
        return len(await origin.listed("one")) >= 3

    await until(three)
    names = (await origin.listed("one"))[-3:]
    parts = [(await origin.ask("GET", f"/live/one/{name}"))[1] for name in names]

    for part in parts:
        assert len(part) % TS_PACKET_BYTES == 0
        assert set(part[::TS_PACKET_BYTES]) == {0x47}
        assert "frame=   10 " in decode("-f", "mpegts", "-i", "pipe:0", media=part)
    assert "frame=   30 " in decode("-f", "mpegts", "-i", "pipe:0", media=b"".join(parts))
    assert await origin.sample("live_segments_served_total") == 3


async def test_start_and_stop_can_be_repeated(origin: Origin) -> None:
    """A second start changes nothing, a second stop names the same recording, another start begins anew."""
    started = await origin.json("PUT", "/channels/one", status=201)
    again = await origin.json("PUT", "/channels/one")
    assert again["started_at"] == started["started_at"]
    assert len(origin.encoders()) == 1
    assert await origin.sample("live_channels") == 1
    first_names = await origin.listed("one")

    stopped = await origin.json("DELETE", "/channels/one")
    assert stopped == await origin.json("DELETE", "/channels/one")
    assert stopped == await origin.json("GET", "/channels/one")
    assert stopped["state"] == "stopped"
    assert not origin.encoders()
    assert (await origin.ask("GET", "/live/one/index.m3u8"))[0] == 404
    assert (await origin.ask("GET", f"/live/one/{first_names[0]}"))[0] == 404
    assert await origin.sample("live_channels") == 0

    await origin.json("PUT", "/channels/one", status=201)
    assert not set(first_names) & set(await origin.listed("one"))
    assert [one["name"] for one in (await origin.json("GET", "/channels"))["channels"]] == ["one"]


async def test_a_stop_gives_a_playable_recording(origin: Origin, tmp_path: Path) -> None:
    """The recording decodes without an error, is as long as it says, and can be read by ranges."""
    await origin.json("PUT", "/channels/one", status=201)

    async def four() -> bool:
        return len(await origin.listed("one")) >= 4

    await until(four)
    recording = (await origin.json("DELETE", "/channels/one"))["recording"]
    status, media = await origin.ask("GET", recording["path"])
    assert status == 200
    assert len(media) == recording["size_bytes"]
    assert recording["duration_s"] >= 4

    path = tmp_path / "recording.mp4"
    path.write_bytes(media)
    said = decode("-i", str(path))
    found = re.search(r"Duration: 00:00:(\d+\.\d+)", said)
    assert found is not None
    assert float(found[1]) == pytest.approx(recording["duration_s"], abs=0.2)
    assert media.index(b"moov") < media.index(b"mdat")

    part = await origin.ask("GET", recording["path"], Range="bytes=100-199")
    assert part == (206, media[100:200])


@pytest.mark.parametrize("key", [None, "", "a-key", KEY + "x", "ключ"])
async def test_a_wrong_key_is_refused(origin: Origin, key: str | None) -> None:
    """Without the right key everything but health and metrics answers 401, and starts nothing."""
    for method, path in [
        ("PUT", "/channels/one"),
        ("DELETE", "/channels/one"),
        ("GET", "/channels"),
        ("GET", "/live/one/index.m3u8"),
        ("GET", "/recordings/one/1.mp4"),
        ("GET", "/no/such/thing"),
    ]:
        assert (await origin.ask(method, path, key=key))[0] == 401
    assert not origin.encoders()


@pytest.mark.parametrize(
    "path",
    [
        "/live/one/../../camera-1.flv",
        "/live/one/..%2f..%2f..%2fcamera-1.flv",
        "/live/one/..%2fchannel.json",
        "/live/..%2f..%2f/index.m3u8",
        "/live/%2e%2e/index.m3u8",
        "/live/one/channel.json",
        "/live/one/1.ts.tmp",
        "/live/one/%00.ts",
        "/live/two/{segment}",
        "/recordings/one/..%2f..%2fcamera-1.flv",
        "/recordings/..%2fchannels%2fone%2fhls/1.mp4",
        "/channels/..%2fone",
        "/channels/One",
        "/channels/-one",
    ],
)
async def test_no_path_leads_out_of_a_channel(origin: Origin, path: str) -> None:
    """Only a channel's own playlist, segments and recordings are served; every other path is unknown."""
    await origin.json("PUT", "/channels/one", status=201)
    (segment, *_) = await origin.listed("one")

    assert (await origin.ask("GET", path.format(segment=segment)))[0] == 404
    assert (await origin.ask("PUT", "/channels/..%2f..%2fevil"))[0] in (404, 405)
    assert not list(origin.folder.parent.glob("evil*"))


async def test_a_killed_encoder_is_started_again(origin: Origin) -> None:
    """The playlist goes on after the encoder was killed, marked as broken, and the recording spans both parts."""
    await origin.json("PUT", "/channels/one", status=201)

    async def two() -> bool:
        return len(await origin.listed("one")) >= 2

    await until(two)
    before = await origin.listed("one")
    origin.encoders()[0].kill()

    async def goes_on() -> bool:
        listed = await origin.listed("one")
        return listed[-1:] > before[-1:] and await origin.sample("live_encoder_restarts_total") == 1

    await until(goes_on)
    _, playlist = await origin.ask("GET", "/live/one/index.m3u8")
    assert b"#EXT-X-DISCONTINUITY" in playlist
    assert before[-1] in await origin.listed("one")
    stopped = await origin.json("DELETE", "/channels/one")
    assert stopped["restarts"] == 1
    assert stopped["recording"]["duration_s"] > len(before)
    media = (await origin.ask("GET", stopped["recording"]["path"]))[1]
    (origin.folder / "recording.mp4").write_bytes(media)
    decode("-i", str(origin.folder / "recording.mp4"))


async def test_an_encoder_that_dies_for_ever_fails_its_channel(origin: Origin) -> None:
    """After its restarts are used up a channel has failed: 503 for its playlist, and a start begins anew."""
    await origin.json("PUT", "/channels/one", status=201)

    async def failed() -> bool:
        for encoder in origin.encoders():
            with contextlib.suppress(psutil.NoSuchProcess):
                encoder.kill()
        return bool((await origin.json("GET", "/channels/one"))["state"] == "failed")

    await until(failed)
    assert await origin.sample("live_encoder_restarts_total") == MAX_RESTARTS
    assert await origin.sample("live_channels") == 0
    assert (await origin.ask("GET", "/live/one/index.m3u8"))[0] == 503

    await origin.json("PUT", "/channels/one", status=201)
    assert await origin.listed("one")


async def test_a_killed_origin_leaves_no_encoder_and_comes_back_live(origin: Origin) -> None:
    """SIGKILL of the origin alone ends every ffmpeg within 2 s; a new origin makes the channels live again."""
    for name in ("one", "two", "three"):
        await origin.json("PUT", f"/channels/{name}", status=201)
    await origin.json("DELETE", "/channels/three")
    orphans = origin.encoders()
    before = await origin.listed("one")
    assert len(orphans) == 2
    assert origin.process is not None

    origin.process.kill()
    origin.process.wait(WAIT_S)
    _, alive = await asyncio.to_thread(psutil.wait_procs, orphans, END_S)
    assert not alive
    with pytest.raises(ConnectionRefusedError):
        await origin.ask("GET", "/channels")

    await origin.start()

    async def live_again() -> bool:
        return (await origin.listed("one"))[-1:] > before[-1:]

    await until(live_again)
    states = {c["name"]: c["state"] for c in (await origin.json("GET", "/channels"))["channels"]}
    assert states == {"one": "live", "two": "live", "three": "stopped"}


async def test_a_paused_origin_is_silent_and_goes_on(origin: Origin) -> None:
    """While the origin is stopped a client gets its own time limit; afterwards the stream goes on without a break."""
    await origin.json("PUT", "/channels/one", status=201)
    assert origin.process is not None
    origin.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            await origin.ask("GET", "/live/one/index.m3u8", limit_s=3)
    finally:
        origin.process.send_signal(signal.SIGCONT)
    before = await origin.listed("one")

    async def goes_on() -> bool:
        return (await origin.listed("one"))[-1:] > before[-1:]

    await until(goes_on)
    _, playlist = await origin.ask("GET", "/live/one/index.m3u8")
    assert b"#EXT-X-TARGETDURATION:1\n" in playlist
    assert await origin.sample("live_encoder_restarts_total") == 0


async def test_sigterm_ends_everything(origin: Origin) -> None:
    """SIGTERM ends the origin and its encoders within 2 s, with status 0, also with an answer under way."""
    for name in ("one", "two"):
        await origin.json("PUT", f"/channels/{name}", status=201)
    encoders = origin.encoders()
    assert origin.process is not None
    _, writer = await asyncio.open_connection("127.0.0.1", origin.port)
    writer.write(b"PUT /channels/three HTTP/1.1\r\n")  # a request that never ends
    await writer.drain()

    begun = time.monotonic()
    origin.process.terminate()
    assert await asyncio.to_thread(origin.process.wait, WAIT_S) == 0
    took_s = time.monotonic() - begun
    writer.close()

    assert not [encoder for encoder in encoders if encoder.is_running()]
    assert took_s < END_S


async def test_channels_are_limited(origin: Origin) -> None:
    """The ninth channel is refused with 507, also when all are started at once; a stop makes room."""
    names = [f"channel-{n}" for n in range(MAX_LIVE + 1)]
    answers = await asyncio.gather(*(origin.ask("PUT", f"/channels/{name}") for name in names))
    assert sorted(status for status, _ in answers) == [201] * MAX_LIVE + [507]
    assert len(origin.encoders()) == MAX_LIVE

    await origin.json("DELETE", f"/channels/{names[0]}")
    await origin.json("DELETE", f"/channels/{names[1]}")
    assert (await origin.ask("PUT", f"/channels/{names[-1]}"))[0] in (200, 201)
    assert (await origin.ask("DELETE", "/channels/never-started"))[0] == 404


async def test_recordings_are_limited(origin: Origin) -> None:
    """Of each channel only the newest recordings are kept."""
    recordings = []
    for _ in range(KEPT_RECORDINGS + 1):
        await origin.json("PUT", "/channels/one", status=201)
        recordings.append((await origin.json("DELETE", "/channels/one"))["recording"]["path"])

    found = [(await origin.ask("GET", path))[0] for path in recordings]
    assert found == [404] + [200] * KEPT_RECORDINGS


def test_segments_are_limited(tmp_path: Path) -> None:
    """Of more than a minute of segments the oldest go; what is not finished is none."""
    for n in range(95, 100 + KEPT_SEGMENTS):
        (tmp_path / f"{n}.ts").touch()
    (tmp_path / "200.ts.tmp").touch()

    kept = [path.name for path in segments(tmp_path)]

    assert kept == [f"{n}.ts" for n in range(100, 100 + KEPT_SEGMENTS)]
    assert sorted(path.name for path in tmp_path.glob("*.ts")) == sorted(kept)


def test_the_clip_goes_round_without_a_seam(tmp_path: Path) -> None:
    """The endless stream's times only rise, over the end of a round too, and a stream begins with a key frame."""
    clip = make_clip(FFMPEG, tmp_path)
    rounds = 3 * len(clip.tags)
    times = [clip.at_ms(n) for n in range(rounds)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert min(gaps) >= 0
    assert max(gaps) <= 100
    assert times[len(clip.tags)] == CLIP_MS + times[0]
    for from_ms in (0, 1, 950, CLIP_MS - 10, 10 * CLIP_MS + 4321):
        n = clip.entry(from_ms)
        assert from_ms <= clip.at_ms(n) <= from_ms + 1100
        assert clip.tags[n % len(clip.tags)].begins


def test_what_is_no_clip_is_told(tmp_path: Path) -> None:
    """A file that is no FLV, one without frames, and a missing ffmpeg raise `ClipError`."""
    with pytest.raises(ClipError, match="expected an FLV"):
        read_clip(b"not a clip")
    with pytest.raises(ClipError, match="no key frame"):
        read_clip(b"FLV" + bytes(10))
    with pytest.raises(ClipError, match="cannot make the clip"):
        make_clip("no-such-ffmpeg", tmp_path)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"DATA_DIR": "x"}, "live_origin: LIVE_KEY (the key that callers bear) not set"),
        ({"LIVE_KEY": "k"}, "live_origin: DATA_DIR (the folder of its state) not set"),
        (
            {"LIVE_KEY": "k", "DATA_DIR": "x", "PORT": "http"},
            "live_origin: PORT is 'http', not a number",
        ),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: dict[str, str], line: str) -> None:
    """With a setting missing or wrong the origin ends with 2 and says which."""
    done = subprocess.run(
        [sys.executable, "-m", "compose.standins.live_origin"],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines() == [line]
