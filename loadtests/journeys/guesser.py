"""Guess at one visitor's password, again and again from one address. The limits must soon answer 429."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.accounts import GUESSED_VISITOR
from loadtests.journeys.journey import Journey, Request
from loadtests.journeys.login import REFUSED, ROUTE, complain_of_refusal, login

if TYPE_CHECKING:
    from random import Random

    from loadtests.world import World

ADDRESS = "10.66.6.6"


def _prepare(_world: World, random: Random) -> Request:
    return login(GUESSED_VISITOR, f"a-wrong-guess-{random.randrange(10**9):09}", ADDRESS)


GUESSER = Journey("guesser", ROUTE, _prepare, complain_of_refusal, statuses=REFUSED)
