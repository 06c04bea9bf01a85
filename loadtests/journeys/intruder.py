"""Try to get in with a listener's right password and a wrong code, from many addresses. A 200 is a break-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.accounts import PASSWORD, besieged_listener
from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.login import REFUSED, ROUTE, complain_of_refusal, login, some_address

if TYPE_CHECKING:
    from random import Random

    from loadtests.world import World


def intrude(world: World, random: Random) -> Request:
    """Return a login with a code that is surely wrong."""
    username = besieged_listener(random)
    code = world.accounts.wrong_code(username, random)
    return login(username, PASSWORD, some_address(random), code)


INTRUDER = Journey("intruder", ROUTE, intrude, complain_of_refusal, statuses=REFUSED)
