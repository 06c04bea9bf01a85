"""Send a code again that let its listener in a moment ago, from elsewhere. A 200 is a break-in.

Until somebody has got in there is nothing to send again, and this is an intruder like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.accounts import PASSWORD
from loadtests.journeys.intruder import intrude
from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.login import REFUSED, ROUTE, complain_of_refusal, login, some_address

if TYPE_CHECKING:
    from random import Random

    from loadtests.world import World


def _prepare(world: World, random: Random) -> Request:
    used = world.accounts.take_used(random)
    if used is None:
        return intrude(world, random)
    return login(used.username, PASSWORD, some_address(random), used.code)


REPLAY = Journey("replay", ROUTE, _prepare, complain_of_refusal, statuses=REFUSED)
