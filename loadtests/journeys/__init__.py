"""What visitors do, one file a journey, each with an oracle that tells a right answer from a wrong one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from chaos.errors import unknown
from loadtests.journeys.browse import BROWSE
from loadtests.journeys.guesser import GUESSER
from loadtests.journeys.intruder import INTRUDER
from loadtests.journeys.live_playlist import LIVE_PLAYLIST
from loadtests.journeys.live_segment import LIVE_SEGMENT
from loadtests.journeys.login_code import LOGIN_CODE
from loadtests.journeys.login_plain import LOGIN_PLAIN
from loadtests.journeys.replay import REPLAY
from loadtests.journeys.thumbnail import THUMBNAIL
from loadtests.journeys.trending import TRENDING
from loadtests.journeys.upload import UPLOAD
from loadtests.journeys.upload_again import UPLOAD_AGAIN
from loadtests.journeys.upload_status import UPLOAD_STATUS
from loadtests.journeys.view import VIEW
from loadtests.journeys.view_again import VIEW_AGAIN
from loadtests.journeys.watch_page import WATCH_PAGE
from loadtests.journeys.watch_range import WATCH_RANGE
from loadtests.journeys.watch_upload import WATCH_UPLOAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtests.journeys.journey import Journey

EVERYDAY = (BROWSE, THUMBNAIL, TRENDING, VIEW, WATCH_PAGE)
LOGINS = (LOGIN_CODE, LOGIN_PLAIN, INTRUDER, REPLAY, GUESSER)
MEDIA = (UPLOAD, UPLOAD_AGAIN, UPLOAD_STATUS, VIEW_AGAIN, WATCH_RANGE, WATCH_UPLOAD)
LIVE = (LIVE_PLAYLIST, LIVE_SEGMENT)
JOURNEYS: Mapping[str, Journey] = MappingProxyType(
    {journey.name: journey for journey in (*EVERYDAY, *LOGINS, *MEDIA, *LIVE)}
)


def journey(name: str) -> Journey:
    """Return the journey called `name`, or raise `UsageError` with the nearest name."""
    try:
        return JOURNEYS[name]
    except KeyError:
        raise unknown("journey", name, JOURNEYS) from None
