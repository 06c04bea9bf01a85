"""The image that stands in for a thumbnail which cannot be had: a play button on a dark tile, 160 x 90, PNG.

It is part of the code, so that no missing file and no full disk can take it away.
"""

from __future__ import annotations

from base64 import b64decode

PLACEHOLDER_TYPE = "image/png"
PLACEHOLDER = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAKAAAABaAQMAAAAFCM8RAAAABlBMVEUmKjN6hJYCmLm2AAAAa0lEQVR42u3UsQ3AIAxEUUZh"
    "hAyAktVuVI/gASxIH/3i+vjKJySEORij0/lmEl6Ei/AmfEQYhElYhJvwiDAIk7AID6IIgzAJi/AgijDslfbuaZ9I7pTKnny4"
    "t7nthqTdOrlNXvbrmP2V/D4vI8RMLYTDWcoAAAAASUVORK5CYII="
)
