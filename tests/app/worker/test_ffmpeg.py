"""Media work gives what it says, and refuses what is no media."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from app.seed.clips import make_clip
from app.worker.ffmpeg import (
    HEIGHTS,
    MediaInfo,
    Reason,
    ffmpeg_path,
    probe,
    thumbnail,
    transcode,
)
from tests.app.worker.media import (
    H264,
    LIMITS,
    PICTURE,
    TONE,
    ffmpeg,
    names,
    read,
    refused,
)

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_probe_tells_what_a_clip_holds(clip: Path) -> None:
    """Length, size and sound are those that the clip was made with."""
    info = await probe(clip, LIMITS)

    assert info == MediaInfo(info.duration_s, 320, 180, has_audio=True, audio_fits=True)
    assert info.duration_s == pytest.approx(2.5, abs=0.1)


async def test_a_probe_tells_what_a_viewer_sees(tmp_path: Path) -> None:
    """A turned video is upright, pixels are square, cover art is no video, and a missing length is measured."""
    ffmpeg(*PICTURE, *H264, tmp_path / "plain.mp4")
    turned = ("-display_rotation", 90, "-i", tmp_path / "plain.mp4", "-c", "copy")
    ffmpeg(*turned, tmp_path / "turned.mp4")
    ffmpeg(*PICTURE, "-vf", "setsar=4/3", *H264, tmp_path / "wide.mp4")
    ffmpeg(*PICTURE, "-c:v", "libvpx", "-f", "webm", "-live", 1, tmp_path / "recorder.webm")
    ffmpeg(*PICTURE, "-frames:v", 1, tmp_path / "cover.png")
    sound = ("-i", tmp_path / "cover.png", *TONE, "-map", 0, "-map", 1, "-c:v", "copy")
    ffmpeg(*sound, "-disposition:v", "attached_pic", tmp_path / "song.mp4")

    upright = await probe(tmp_path / "turned.mp4", LIMITS)
    assert (upright.width, upright.height) == (180, 320)
    wide = await probe(tmp_path / "wide.mp4", LIMITS)
    assert (wide.width, wide.height) == (427, 180)
    for name, shown in (("turned", "180x320"), ("wide", "428x180")):
        for one in await transcode(tmp_path / f"{name}.mp4", tmp_path, LIMITS):
            assert f"{shown} [SAR 1:1" in ffmpeg("-i", one.path)
    recorded = await probe(tmp_path / "recorder.webm", LIMITS)
    assert recorded.duration_s == pytest.approx(2, abs=0.2)
    assert not recorded.has_audio
    assert await refused(probe(tmp_path / "song.mp4", LIMITS)) is Reason.NO_VIDEO


async def test_a_file_cannot_lie_through_its_words(tmp_path: Path) -> None:
    """A title that looks like ffmpeg's own lines changes nothing of what is read."""
    title = "x\n  Duration: 09:00:00.00, start\n  Stream #0:0: Video: h264, yuv420p, 9x9, 1 fps"
    ffmpeg(*PICTURE, *H264, "-metadata", f"title={title}", tmp_path / "liar.mp4")

    info = await probe(tmp_path / "liar.mp4", LIMITS)

    assert (info.width, info.height) == (320, 180)
    assert info.duration_s == pytest.approx(2, abs=0.1)


async def test_renditions_are_what_their_names_say(tmp_path: Path) -> None:
    """A 1080p source gives three playable H.264 files of 1080, 720 and 480 lines that start at once."""
    make_clip(tmp_path / "source.mp4", seed=3, size=(1920, 1080), seconds=1)
    made = await transcode(tmp_path / "source.mp4", tmp_path, LIMITS)

    assert [(one.name, one.height) for one in made] == list(HEIGHTS.items())
    for one in made:
        data = one.path.read_bytes()
        said = ffmpeg("-i", one.path, "-f", "null", "-")
        assert one.path == tmp_path / f"{one.name}.mp4"
        assert one.size_bytes == len(data)
        assert data.index(b"moov") < data.index(b"mdat")
        assert f"{round(one.height * 16 / 9 / 2) * 2}x{one.height} [SAR 1:1" in said
        assert "h264 (Constrained Baseline)" in said
        assert "Audio: aac" in said
        assert "frame=   15 " in said
    assert len(names(tmp_path)) == 4


@pytest.mark.parametrize(
    ("size", "heights"),
    [((320, 180), [180, 180, 180]), ((1282, 722), [722, 720, 480]), ((540, 960), [960, 960, 854])],
)
async def test_renditions_are_never_larger_than_the_source(
    tmp_path: Path, size: tuple[int, int], heights: list[int]
) -> None:
    """All three exist for small and upright sources too, with even sizes, none enlarged, all different files."""
    make_clip(tmp_path / "source.mp4", seed=4, size=size, seconds=0.4)

    made = await transcode(tmp_path / "source.mp4", tmp_path, LIMITS)

    assert [one.height for one in made] == heights
    assert len({one.path.read_bytes() for one in made}) == 3


@pytest.mark.parametrize(
    "words",
    [
        (*TONE, "-c:v", "libvpx", "-c:a", "libopus", "-f", "webm"),
        (*TONE, *H264, "-c:a", "libmp3lame", "-f", "matroska"),
        (*TONE, *H264, "-c:a", "aac", "-f", "mpegts"),
        (*H264, "-f", "mov"),
        ("-vf", "crop=33:17:0:0,format=yuv444p", "-c:v", "libx264", "-f", "mp4"),
    ],
)
async def test_what_is_taken_can_be_transcoded(tmp_path: Path, words: tuple[str, ...]) -> None:
    """WebM, Matroska, MPEG-TS and QuickTime, other sound, odd sizes and other pixels become playable MP4."""
    ffmpeg(*PICTURE, *words, tmp_path / "source")

    for one in await transcode(tmp_path / "source", tmp_path, LIMITS):
        assert "yuv420p" in ffmpeg("-xerror", "-i", one.path, "-f", "null", "-")


async def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two runs give the same checksums, of sound that is encoded too, and of the thumbnail."""
    ffmpeg(*PICTURE, *TONE, *H264, "-c:a", "libmp3lame", "-f", "matroska", tmp_path / "source")
    sums = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        await transcode(tmp_path / "source", folder, LIMITS)
        await thumbnail(tmp_path / "source", folder / "frame.png", LIMITS)
        sums.append(
            [
                hashlib.sha256(p.read_bytes()).hexdigest()
                for p in map(folder.joinpath, names(folder))
            ]
        )

    assert len(sums[0]) == 4
    assert sums[0] == sums[1]


async def test_a_thumbnail_is_a_picture_of_the_video(tmp_path: Path, clip: Path) -> None:
    """It is a PNG in the video's shape, not enlarged; a video of one frame has one too."""
    make_clip(tmp_path / "tall.mp4", seed=5, size=(720, 1280), seconds=0.4)
    ffmpeg(*PICTURE, *H264, "-frames:v", 1, tmp_path / "still.mp4")
    sources = {
        clip: (320, 180),
        tmp_path / "tall.mp4": (180, 320),
        tmp_path / "still.mp4": (320, 180),
    }
    for source, (width, height) in sources.items():
        await thumbnail(source, tmp_path / "frame.png", LIMITS)
        data = (tmp_path / "frame.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert data[16:24] == width.to_bytes(4, "big") + height.to_bytes(4, "big")
    assert not [name for name in names(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("name", ["video.mp4", "video.m3u8"])
async def test_a_playlist_reaches_no_address(tmp_path: Path, name: str) -> None:
    """An ffmpeg that may use the network asks the address in a playlist; here it is no media, and nobody is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        path = tmp_path / name
        path.write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/secret.ts\n#EXT-X-ENDLIST\n")
        server.settimeout(0.3)

        for work in (probe(path, LIMITS), transcode(path, tmp_path, LIMITS)):
            assert await refused(work) is Reason.NOT_MEDIA
        with pytest.raises(TimeoutError):
            server.accept()

        words = [ffmpeg_path(), "-nostdin", "-protocol_whitelist", "file,http,tcp", "-f", "hls"]
        words += ["-i", str(path), "-f", "null", "-"]
        careless = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
        server.settimeout(10)
        server.accept()[0].close()
        careless.kill()
        await careless.wait()


async def test_a_script_reads_no_other_file(tmp_path: Path, clip: Path) -> None:
    """Left alone, ffmpeg reads the file that a script names; here the script is no media."""
    shutil.copy(clip, tmp_path / "secret.mp4")
    script = tmp_path / "script.mp4"
    script.write_text("ffconcat version 1.0\nfile secret.mp4\n")

    assert "Video: h264" in ffmpeg("-i", script)
    assert await refused(probe(script, LIMITS)) is Reason.NOT_MEDIA
    assert await refused(thumbnail(script, tmp_path / "frame.png", LIMITS)) is Reason.NOT_MEDIA


async def test_a_disguised_playlist_is_read_as_what_it_pretends(tmp_path: Path) -> None:
    """A playlist behind the first bytes of a film passes the first look and is still never read as a playlist."""
    for n, head in enumerate((b"\0\0\0\x18ftypisom\0\0\2\0isommp42", (b"\x47" + bytes(187)) * 3)):
        path = tmp_path / f"{n}.mp4"
        path.write_bytes(head + b"\n#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
        assert await refused(transcode(path, tmp_path, LIMITS)) in (
            Reason.NOT_MEDIA,
            Reason.NO_VIDEO,
        )


async def test_what_is_no_media_is_told(tmp_path: Path, clip: Path) -> None:
    """Nothing, text, a picture, half a film and an unknown codec are no media; sound alone has no video."""
    data = read(clip)
    ffmpeg(*PICTURE, "-frames:v", 1, tmp_path / "picture.png")
    files = {
        "empty": b"",
        "text": b"hello",
        "cut": data[:600],
        "noise": data[:32] + os.urandom(9000),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in (*files, "picture.png"):
        assert await refused(probe(tmp_path / name, LIMITS)) is Reason.NOT_MEDIA, name
    ffmpeg(*PICTURE, "-c:v", "ffv1", tmp_path / "rare.mkv")
    assert await refused(transcode(tmp_path / "rare.mkv", tmp_path, LIMITS)) in (
        Reason.NOT_MEDIA,
        Reason.ENCODER,
    )
    ffmpeg(*TONE, tmp_path / "sound.mp4")
    assert await refused(probe(tmp_path / "sound.mp4", LIMITS)) is Reason.NO_VIDEO
    assert not [name for name in names(tmp_path) if name.startswith(".")]


async def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe that would never end, a folder and a missing file are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError):
            await probe(path, LIMITS)
