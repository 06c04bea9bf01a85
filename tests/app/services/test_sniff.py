"""What a file is, is read from its bytes."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.sniff import HEAD_BYTES, sniff
from app.worker.ffmpeg import ffmpeg_path

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
    "video/mp2t",
    "image/png",
    "image/jpeg",
    "image/webp",
}
VIDEO = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=0.5")
FRAME = (*VIDEO, "-frames:v", "1")
# A box that names its size, then the brand, a version and the brands that it agrees with.
FTYP = b"\x00\x00\x00\x18ftyp%s\x00\x00\x02\x00%s%s"
EBML = b"\x1a\x45\xdf\xa3"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ((*VIDEO, "-c:v", "libx264", "-f", "mp4"), "video/mp4"),
        ((*VIDEO, "-c:v", "libx264", "-movflags", "frag_keyframe", "-f", "mp4"), "video/mp4"),
        ((*VIDEO, "-c:v", "libx264", "-brand", "dash", "-f", "mp4"), "video/mp4"),
        ((*VIDEO, "-c:v", "libx264", "-f", "3gp"), "video/mp4"),
        ((*VIDEO, "-c:v", "libx264", "-f", "ipod"), "video/mp4"),
        ((*VIDEO, "-c:v", "libx264", "-f", "mov"), "video/quicktime"),
        ((*VIDEO, "-c:v", "libvpx", "-f", "webm"), "video/webm"),
        ((*VIDEO, "-c:v", "libvpx", "-f", "webm", "-live", "1"), "video/webm"),
        ((*VIDEO, "-c:v", "libx264", "-f", "matroska"), "video/x-matroska"),
        ((*VIDEO, "-c:v", "libx264", "-f", "mpegts"), "video/mp2t"),
        ((*FRAME, "-c:v", "png", "-f", "image2pipe"), "image/png"),
        ((*FRAME, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-f", "image2pipe"), "image/jpeg"),
        ((*FRAME, "-c:v", "libwebp", "-f", "image2pipe"), "image/webp"),
        ((*VIDEO, "-c:v", "flv", "-f", "flv"), None),
        ((*VIDEO, "-c:v", "mpeg4", "-f", "avi"), None),
        ((*FRAME, "-c:v", "gif", "-f", "gif"), None),
        (("-f", "lavfi", "-i", "sine=duration=0.2", "-f", "wav"), None),
        (("-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "libopus", "-f", "ogg"), None),
    ],
)
def test_what_real_files_are(tmp_path: Path, words: tuple[str, ...], kind: str | None) -> None:
    """Files as ffmpeg writes them are told by their first bytes, under a name that says something else."""
    path = tmp_path / "letter.txt"
    command = [ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", *words, str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)

    with path.open("rb") as stream:
        assert sniff(stream.read(HEAD_BYTES)) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", None),
        (b"\0", None),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/\n", None),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", None),
        (b"<html><script>alert(1)</script>", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (FTYP % (b"qt  ", b"qt  ", b"\0\0\0\0"), "video/quicktime"),
        (FTYP % (b"none", b"isom", b"none"), "video/mp4"),
        (FTYP % (b"heic", b"mif1", b"heic"), None),
        (FTYP % (b"avif", b"mif1", b"miaf"), None),
        (FTYP % (b"M4A ", b"M4A ", b"mp42"), None),
        (b"\x00\x00\x00\x0cftypisom", None),
        (b"\xff\xff\xff\xffftypisom\0\0\0\0", None),
        (b"\x00\x00\x00\x18ftypiso", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"RIFF\0\0\0\0WEB", None),
        (EBML, None),
        (EBML + b"\x87\x42\x82\x84webm", "video/webm"),
        (EBML + b"\x8b\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
        (EBML + b"\x8a\x42\x82\x87webm\0\0\0", "video/webm"),
        (EBML + b"\x8b\x42\x82\x88matroska", "video/x-matroska"),
        (EBML + b"\x87\x42\x82\x84evil", None),
        (EBML + b"\x87\x00\x82\x84webm", None),
        (EBML + b"\x87\x42\x82", None),
        ((b"\x47" + bytes(187)) * 3, "video/mp2t"),
        ((b"\x47" + bytes(187)) * 2, None),
        (b"G" * 300 + bytes(300), None),
    ],
)
def test_what_made_up_heads_are(head: bytes, kind: str | None) -> None:
    """Text, pictures in a film's container, lying sizes and cut heads are nothing that is taken."""
    assert sniff(head) == kind


@given(
    st.sampled_from([b"", EBML, b"\0\0\0\x18ftyp", b"RIFF", b"\x89PNG", b"\x47" + bytes(187)]),
    st.binary(max_size=HEAD_BYTES),
)
def test_no_bytes_raise(start: bytes, rest: bytes) -> None:
    """Whatever the bytes are, the answer is None or one of the eight types."""
    assert sniff(start + rest) in {None, *KINDS}
