"""What a file is, by its first bytes alone. Names, extensions and headers are claims of the sender."""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 1024
"""How much of a file `sniff` wants; with less it may not know what it would know with more."""

_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_RIFF, _WEBP = b"RIFF", b"WEBP"

_EBML = b"\x1a\x45\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
_DOC_TYPES = {b"webm": "video/webm", b"matroska": "video/x-matroska"}
_MAX_ID_BYTES = 4

_TS_SYNC, _TS_PACKET_BYTES, _TS_PACKETS = 0x47, 188, 3

_FTYP_HEADER_BYTES = 16
_FTYP_MAX_BYTES = 1024
_QUICKTIME = b"qt  "
# Brands of films. Those of still pictures (heic, avif, mif1) and of sound (M4A, M4B) share the container.
_MP4 = frozenset(
    {
        *(b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9"),
        *(b"mp41", b"mp42", b"avc1", b"hvc1", b"hev1", b"av01", b"dash", b"mmp4", b"MSNV"),
        *(b"M4V ", b"M4VH", b"M4VP", b"F4V ", b"XAVC", b"3gp4", b"3gp5", b"3gp6", b"3g2a"),
    }
)


def sniff(head: bytes) -> str | None:
    """Return the media type of a file that begins with `head`, None when it is none of those that are taken.

    Taken are MP4, QuickTime, WebM, Matroska and MPEG-TS, PNG, JPEG and WebP. Text that makes ffmpeg read other
    files or addresses (playlists, concat scripts) is never among them.
    """
    for magic, kind in _PICTURES.items():
        if head.startswith(magic):
            return kind
    if head[:4] == _RIFF and head[8:12] == _WEBP:
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head.startswith(_EBML):
        return _ebml(head)
    if len(head) > _TS_PACKET_BYTES * (_TS_PACKETS - 1) and all(
        head[n * _TS_PACKET_BYTES] == _TS_SYNC for n in range(_TS_PACKETS)
    ):
        return "video/mp2t"
    return None


def _iso_media(head: bytes) -> str | None:
    """Judge by the brand that the file says it is best read as, else by those that it says it agrees with."""
    size = int.from_bytes(head[:4], "big")
    if not _FTYP_HEADER_BYTES <= size <= _FTYP_MAX_BYTES or len(head) < _FTYP_HEADER_BYTES:
        return None
    major = head[8:12]
    if major == _QUICKTIME:
        return "video/quicktime"
    if major in _MP4:
        return "video/mp4"
    # A brand that is not known may be a picture or a sound, unless a film is what it agrees with most.
    return "video/mp4" if head[16:20] in _MP4 and size > _FTYP_HEADER_BYTES else None


def _ebml(head: bytes) -> str | None:
    """Walk the elements of the EBML header to its DocType."""
    _, at = _vint(head, len(_EBML))
    while at < len(head):
        id_bytes = 9 - head[at].bit_length()
        if not 1 <= id_bytes <= _MAX_ID_BYTES:
            return None
        size, data_at = _vint(head, at + id_bytes)
        if head[at : at + id_bytes] == _DOC_TYPE:
            return _DOC_TYPES.get(head[data_at : data_at + size].rstrip(b"\0"))
        at = data_at + size
    return None


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """Return an EBML size and where it ends: leading zero bits tell how many bytes follow the first."""
    if at >= len(data) or data[at] == 0:
        return 0, len(data)
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << (7 * length)) - 1)
    return value, at + length
