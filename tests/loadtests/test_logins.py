"""Claims about accounts, codes and the journeys to the login."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest

from loadtests.accounts import (
    GUESSED_VISITOR,
    HONEST_LISTENERS,
    MAX_USED,
    PASSWORD,
    REPLAY_WITHIN_S,
    STEP_S,
    Accounts,
    besieged_listener,
    honest_visitor,
    totp,
)
from loadtests.journeys import LOGINS, journey
from loadtests.outcome import Answer
from loadtests.world import World
from tests.loadtests.driving import ask, generator, make_plan, server
from tests.loadtests.server import WORLD_REQUESTS

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = {"access_token": "a", "token_type": "bearer", "expires_in_s": 600, "refresh_token": "r"}


@dataclass
class Clock:
    """A wall clock that a test moves."""

    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def dice(seed: int) -> Random:
    """Return a generator of numbers that are no secret."""
    return Random(seed)  # noqa: S311 (no secret)


def rfc6238(username: str, now_s: int) -> str:
    """Return a listener's code by the letter of RFC 4226 and 6238, without any library."""
    key = hashlib.sha256(b"socialflow-seed-totp:" + username.encode()).digest()[:20]
    digest = hmac.new(key, struct.pack(">Q", now_s // 30), "sha1").digest()
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**6:06}"


@pytest.mark.parametrize("now_s", [59, 1_111_111_109, 1_234_567_890, 2_000_000_000])
def test_a_listeners_code_is_that_of_rfc_6238(now_s: int) -> None:
    """The code comes from the key that the seed derives, by the RFC, at any time."""
    accounts = Accounts(Clock(now_s))

    assert accounts.code("listener-0042") == rfc6238("listener-0042", now_s)
    assert base64.b32decode(totp("listener-0042").secret) != base64.b32decode(
        totp("listener-0043").secret
    )


def test_no_listener_comes_twice_within_a_step() -> None:
    """800 logins in a row are 800 accounts, none of them besieged, and then the first comes again."""
    accounts = Accounts(Clock())
    names = [accounts.next_listener() for _ in range(HONEST_LISTENERS)]

    assert len(set(names)) == HONEST_LISTENERS
    assert max(names) == "listener-0799"
    assert accounts.next_listener() == names[0]


def test_the_next_process_begins_with_rested_listeners() -> None:
    """A generator that starts right after one with 6 logins a second uses none of its last step's accounts."""
    clock = Clock()
    first = Accounts(clock)
    names = [first.next_listener() for _ in range(6 * 45)]
    clock.now_s += 46
    second = Accounts(clock)

    assert not {second.next_listener() for _ in range(6 * STEP_S)} & set(names)


def test_a_wrong_code_is_wrong_for_steps_around_now() -> None:
    """Of many draws none is right a minute before or after, so nobody gets in by luck."""
    clock = Clock()
    accounts = Accounts(clock)
    right = {rfc6238("listener-0800", int(clock.now_s) + 30 * step) for step in range(-2, 3)}

    class Unlucky(Random):
        """Draws right codes first."""

        def randrange(self, start: int, *_: object, **__: object) -> int:
            return int(queue.pop()) if queue else super().randrange(start)

    queue = sorted(right)
    assert accounts.wrong_code("listener-0800", Unlucky(1)) not in right
    assert not queue


def test_used_codes_are_few_young_and_taken_once() -> None:
    """At most 256 are kept, none older than its step, and each is given out once."""
    clock = Clock()
    accounts = Accounts(clock)
    assert accounts.take_used(dice(1)) is None
    for n in range(MAX_USED + 50):
        accounts.remember(f"listener-{n:04}", "123456")
    taken: list[str] = []
    while (used := accounts.take_used(dice(len(taken)))) is not None:
        taken.append(used.username)
    accounts.remember("listener-0001", "123456")
    clock.now_s += REPLAY_WITHIN_S + 1

    assert len(taken) == len(set(taken)) == MAX_USED
    assert "listener-0000" not in taken
    assert accounts.take_used(dice(1)) is None


def test_who_is_honest_is_never_besieged() -> None:
    """Limits on accounts under attack hit nobody who knows his password."""
    besieged = {besieged_listener(dice(seed)) for seed in range(500)}
    visitors = {honest_visitor(dice(seed)) for seed in range(500)}

    assert min(besieged) >= "listener-0800"
    assert max(besieged) <= "listener-0949"
    assert GUESSED_VISITOR not in visitors


def test_each_journey_sends_what_it_is_named_for() -> None:
    """Right and wrong passwords and codes, each from an address of its own; the guesser's is always one."""
    world = World(("v1",), Accounts(Clock()))
    sent = {j.name: [j.prepare(world, dice(seed)) for seed in range(20)] for j in LOGINS}
    bodies = {name: [dict(r.body or {}) for r in requests] for name, requests in sent.items()}
    addresses = {
        name: {dict(r.headers)["X-Forwarded-For"] for r in requests}
        for name, requests in sent.items()
    }

    assert all("code" not in body for body in bodies["login_plain"] + bodies["guesser"])
    assert {body["username"] for body in bodies["guesser"]} == {GUESSED_VISITOR}
    assert all(body["password"] != PASSWORD for body in bodies["guesser"])
    for name in ("login_code", "login_plain", "intruder", "replay"):
        assert all(body["password"] == PASSWORD for body in bodies[name])
        assert len(addresses[name]) > 15
    assert len(addresses["guesser"]) == 1
    for body in bodies["login_code"]:
        assert body["code"] == world.accounts.code(body["username"])
    for body in bodies["intruder"] + bodies["replay"]:
        assert body["username"] >= "listener-0800"
        assert body["code"] != world.accounts.code(body["username"])


def test_a_replay_sends_what_let_somebody_in() -> None:
    """After a login that was answered well its very code is sent again, from another address, once."""
    world = World(("v1",))
    login = journey("login_code").prepare(world, dice(1))
    journey("login_code").learn(world, login, Answer(200))
    replay = journey("replay").prepare(world, dice(2))
    after = journey("replay").prepare(world, dice(3))

    assert replay.body == login.body
    assert replay.headers != login.headers
    assert after.body != login.body


@pytest.mark.parametrize(
    ("name", "status", "body", "word"),
    [
        ("login_code", 200, {"status": "authenticated", "tokens": TOKENS}, ""),
        ("login_code", 200, {"status": "code_required", "tokens": None}, "not authenticated"),
        ("login_plain", 200, {"status": "authenticated", "tokens": None}, "no tokens"),
        (
            "login_plain",
            200,
            {"status": "authenticated", "tokens": TOKENS | {"refresh_token": ""}},
            "no refresh",
        ),
        ("login_code", 200, [], "no JSON"),
        ("intruder", 401, {"title": "Unauthorized", "status": 401}, ""),
        ("replay", 429, {"title": "Too Many Requests", "status": 429}, ""),
        ("intruder", 401, {"tokens": TOKENS}, "a token in a refusal"),
        ("guesser", 429, {"access_token": "a"}, "a token in a refusal"),
    ],
)
def test_an_oracle_reads_the_answer_to_a_login(
    name: str, status: int, body: object, word: str
) -> None:
    """Getting in means tokens; being refused means none, whatever the status says."""
    kind = journey(name)
    complaint = kind.complain(
        kind.prepare(World(("v1",)), dice(1)), Answer(status, json.dumps(body).encode())
    )

    assert status in kind.statuses
    assert word in complaint
    assert bool(word) == bool(complaint)


@pytest.mark.live
def test_logins_under_load_are_answered_as_they_deserve(tmp_path: Path) -> None:
    """Against a server that checks codes: honest ones get in, each code once; the others never, replays included."""
    plan = make_plan(60, 3, journeys=" ".join(j.name for j in LOGINS))
    with server("good") as host, generator(tmp_path, plan, host) as load:
        load.go()
        assert load.end() == 0, load.said()
        seen = ask(f"{host}/seen")[WORLD_REQUESTS:]
    arrivals = load.arrivals()
    statuses = arrivals.groupby("journey")["status"].agg(set).to_dict()
    how = {s["id"]: s["login"] for s in seen}
    replays = {how[i] for i in arrivals[arrivals["journey"] == "replay"]["correlation_id"]}

    assert set(arrivals["class"]) == {"ok"}
    assert statuses.pop("login_code") == statuses.pop("login_plain") == {200}
    assert all(found == {401} for found in statuses.values())
    assert "used code" in replays <= {"used code", "wrong code"}
    assert all(s["from"].startswith("10.") for s in seen)
    assert PASSWORD not in (tmp_path / "arrivals.jsonl").read_text() + load.said()
