"""What visitors do, one file a journey, each with an oracle that tells a right answer from a wrong one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from chaos.errors import unknown
from loadtests.journeys.browse import BROWSE
from loadtests.journeys.thumbnail import THUMBNAIL
from loadtests.journeys.trending import TRENDING
from loadtests.journeys.view import VIEW
from loadtests.journeys.watch_page import WATCH_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtests.journeys.journey import Journey

JOURNEYS: Mapping[str, Journey] = MappingProxyType(
    {journey.name: journey for journey in (BROWSE, THUMBNAIL, TRENDING, VIEW, WATCH_PAGE)}
)


def journey(name: str) -> Journey:
    """Return the journey called `name`, or raise `UsageError` with the nearest name."""
    try:
        return JOURNEYS[name]
    except KeyError:
        raise unknown("journey", name, JOURNEYS) from None
