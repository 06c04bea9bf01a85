"""Log in with a password alone: a visitor who has no second factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.accounts import PASSWORD, honest_visitor
from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.login import ROUTE, complain_of_tokens, login, some_address

if TYPE_CHECKING:
    from random import Random

    from loadtests.world import World


def _prepare(_world: World, random: Random) -> Request:
    return login(honest_visitor(random), PASSWORD, some_address(random))


LOGIN_PLAIN = Journey("login_plain", ROUTE, _prepare, complain_of_tokens)
