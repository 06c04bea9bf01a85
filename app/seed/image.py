"""Thumbnails drawn without an image library: a diagonal gradient with a play button, as an indexed PNG."""

from __future__ import annotations

import colorsys
import struct
import zlib

WIDTH, HEIGHT = 320, 180
_SHADES = 64
_BUTTON = _SHADES  # the palette's last entry
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BUTTON_HEIGHT = 60


def thumbnail(hue: float) -> bytes:
    """Return a PNG in the colours around `hue` (0 to 1)."""
    return b"".join(
        (
            _SIGNATURE,
            # Depth 8, colour type 3: each pixel is an index into the palette.
            _chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", _palette(hue)),
            _chunk(b"IDAT", _PIXELS),
            _chunk(b"IEND", b""),
        )
    )


def _palette(hue: float) -> bytes:
    colours = bytearray()
    for shade in range(_SHADES):
        share = shade / (_SHADES - 1)
        red, green, blue = colorsys.hsv_to_rgb((hue + 0.12 * share) % 1, 0.75, 0.85 - 0.5 * share)
        colours += bytes((int(red * 255), int(green * 255), int(blue * 255)))
    return bytes(colours) + b"\xff\xff\xff"


def _pixels() -> bytes:
    """Return the compressed rows. Only colours differ between thumbnails, so this is done once."""
    ramp = bytes(i * (_SHADES - 1) // (WIDTH + HEIGHT) for i in range(WIDTH + HEIGHT))
    top, left = (HEIGHT - _BUTTON_HEIGHT) // 2, (WIDTH - _BUTTON_HEIGHT) // 2
    rows = bytearray()
    for y in range(HEIGHT):
        row = bytearray(ramp[y : y + WIDTH])
        from_edge = min(y - top, top + _BUTTON_HEIGHT - y)
        if from_edge > 0:
            row[left : left + 2 * from_edge] = bytes([_BUTTON]) * (2 * from_edge)
        rows += b"\0" + row  # filter 0: the row as it is
    return zlib.compress(bytes(rows), 9)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_PIXELS = _pixels()
