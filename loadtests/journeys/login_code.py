"""Log in with password and code at once: an honest listener, each in his turn, from an address of his own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.accounts import PASSWORD
from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.login import ROUTE, complain_of_tokens, login, some_address

if TYPE_CHECKING:
    from random import Random

    from loadtests.outcome import Answer
    from loadtests.world import World


def _prepare(world: World, random: Random) -> Request:
    username = world.accounts.next_listener()
    return login(username, PASSWORD, some_address(random), world.accounts.code(username))


def _learn(world: World, request: Request, _answer: Answer) -> None:
    if request.body is not None:
        world.accounts.remember(request.body["username"], request.body["code"])


LOGIN_CODE = Journey("login_code", ROUTE, _prepare, complain_of_tokens, learn=_learn)
