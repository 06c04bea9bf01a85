"""Look at what is popular now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.journeys.base import API, Request, World
from loadtests.journeys.browse import listing_is_wrong

if TYPE_CHECKING:
    from random import Random


def trending(_rng: Random, _world: World) -> Request:
    """Ask for the trending list; it must hold videos."""
    return Request("GET", f"{API}/videos/trending", f"{API}/videos/trending", listing_is_wrong)
