"""Tokens: what we issued is read, and nothing else is, however it was made."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import UnauthorizedError
from app.core.security.keys import Keys
from app.core.security.tokens import (
    ACCESS_TTL_S,
    CHALLENGE_TTL_S,
    REQUIRED_CLAIMS,
    Identity,
    Tokens,
)
from app.models.user import Role

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_S = 1_800_000_000.0
KEYS = Keys([b"the current secret of the tests.", b"the previous secret of the tests"])
FOREIGN = Keys([b"the secret of somebody else, long"])
IDENTITY = Identity(UUID(int=7), Role.VIEWER, UUID(int=8))
HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = NOW_S

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of the reader."""
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    """Issuer and reader."""
    return Tokens(KEYS, clock)


def encoded(part: bytes) -> str:
    """Return base64 as tokens have it."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says, without a look at its signature."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def made(claims: object, key: bytes | None = None, *, alg: str = "HS256", **header: object) -> str:
    """Make a token by hand: any claims, any header, the right key unless told otherwise."""
    key_id, right_key = KEYS.signing_key
    head = {"alg": alg, "typ": "JWT", "kid": key_id, **header}
    head = {name: value for name, value in head.items() if value is not None}
    body = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    name = HASHES.get(alg)
    if name is None:
        return f"{body}."
    return f"{body}.{encoded(hmac.digest(right_key if key is None else key, body.encode(), name))}"


def good(**changes: object) -> dict[str, Any]:
    """Return the claims of a good access token, changed."""
    claims = claims_of(Tokens(KEYS, Clock()).issue_access(IDENTITY)[0])
    return {**claims, **changes}


def test_what_is_issued_is_read(tokens: Tokens) -> None:
    """Identity in, identity out, and for how long it holds."""
    for role in Role:
        identity = Identity(UUID(int=7), role, UUID(int=8))
        token, expires_in_s = tokens.issue_access(identity)
        assert tokens.read_access(token) == identity
        assert expires_in_s == ACCESS_TTL_S == 600
    assert tokens.read_challenge(tokens.issue_challenge(UUID(int=7))) == UUID(int=7)


def test_a_token_made_by_hand_as_ours_are_is_read(tokens: Tokens) -> None:
    """The forgeries below differ from a good token in what they claim to, and in nothing else."""
    assert tokens.read_access(made(good())) == IDENTITY


def test_a_token_says_no_more_than_it_must(tokens: Tokens) -> None:
    """No name, no address; each one has an id of its own."""
    first, second = (claims_of(tokens.issue_access(IDENTITY)[0]) for _ in range(2))

    assert set(first) == {*REQUIRED_CLAIMS, "role", "sid"}
    assert first["jti"] != second["jti"]
    assert len(tokens.issue_access(IDENTITY)[0]) < 512


@pytest.mark.parametrize(
    ("read", "issue", "ttl_s"),
    [
        (Tokens.read_access, lambda t: t.issue_access(IDENTITY)[0], ACCESS_TTL_S),
        (Tokens.read_challenge, lambda t: t.issue_challenge(UUID(int=7)), CHALLENGE_TTL_S),
    ],
)
def test_an_expired_token_is_refused(
    tokens: Tokens,
    clock: Clock,
    read: Callable[[Tokens, str], object],
    issue: Callable[[Tokens], str],
    ttl_s: int,
) -> None:
    """It holds up to its last moment and not at it: no leeway."""
    token = issue(tokens)
    clock.now = NOW_S + ttl_s - 0.001
    read(tokens, token)
    clock.now = NOW_S + ttl_s
    with pytest.raises(UnauthorizedError):
        read(tokens, token)


def test_a_token_from_the_future_is_refused(tokens: Tokens, clock: Clock) -> None:
    """Nobody of us has issued it yet."""
    token, _ = tokens.issue_access(IDENTITY)
    clock.now = NOW_S - 1
    with pytest.raises(UnauthorizedError):
        tokens.read_access(token)


def test_a_challenge_is_no_access_and_access_is_no_challenge(tokens: Tokens) -> None:
    """Whoever has shown only a password has no access, though the same key signed both."""
    with pytest.raises(UnauthorizedError):
        tokens.read_access(tokens.issue_challenge(UUID(int=7)))
    with pytest.raises(UnauthorizedError):
        tokens.read_access(made(good(aud="challenge")))
    with pytest.raises(UnauthorizedError):
        tokens.read_challenge(tokens.issue_access(IDENTITY)[0])


FORGERIES = {
    "algorithm none": made(good(), alg="none"),
    "algorithm None": made(good(), alg="None"),
    "algorithm none without a key": made(good(), alg="none", kid=None),
    "algorithm HS512 with the right key": made(good(), alg="HS512"),
    "algorithm HS384 with the right key": made(good(), alg="HS384"),
    "algorithm RS256": made(good(), alg="RS256"),
    "no algorithm": made(good(), alg=""),
    "wrong key": made(good(), b"x" * 32),
    "empty key": made(good(), b""),
    "somebody else's key": made(good(), FOREIGN.signing_key[1]),
    "somebody else's key, named": made(good(), FOREIGN.signing_key[1], kid=FOREIGN.signing_key[0]),
    "unknown key": made(good(), kid="0000000000000000"),
    "no key named": made(good(), kid=None),
    "a path as key": made(good(), b"", kid="../../dev/null"),
    "a list as key": made(good(), kid=[KEYS.signing_key[0]]),
    "a number as key": made(good(), kid=1),
    "a key in the header": made(
        good(), b"x" * 32, jwk={"kty": "oct", "k": encoded(b"x" * 32)}, kid=None
    ),
    "another known key than named": made(good(), [*KEYS.signing_keys.values()][1]),
    "unknown critical header": made(good(), crit=["exp2"], exp2=1),
    "wrong issuer": made(good(iss="somebody")),
    "wrong audience": made(good(aud="refresh")),
    "a list of audiences": made(good(aud=["access", "challenge"])),
    "expired": made(good(exp=NOW_S - 1)),
    "expires never": made(good(exp=None)),
    "expires when text says": made(good(exp="soon")),
    "issued in the future": made(good(iat=NOW_S + 60)),
    "a role that is none": made(good(role="root")),
    "a role that is a list": made(good(role=["admin"])),
    "no role": made({k: v for k, v in good().items() if k != "role"}),
    "no session": made({k: v for k, v in good().items() if k != "sid"}),
    "a session that is none": made(good(sid="x")),
    "a session that is a number": made(good(sid=8)),
    "a subject that is none": made(good(sub="admin")),
    "a subject that is a number": made(good(sub=7)),
    "claims that are a list": made([good()]),
    "claims that are nested deep": made(json.loads("[" * 90 + "]" * 90)),
    **{
        f"no {claim}": made({k: v for k, v in good().items() if k != claim})
        for claim in REQUIRED_CLAIMS
    },
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_is_refused(tokens: Tokens, name: str) -> None:
    """Each way to make one ends in the same 401."""
    with pytest.raises(UnauthorizedError, match=r"^the credentials are not valid$"):
        tokens.read_access(FORGERIES[name])


def test_a_role_that_was_tampered_with_is_refused(tokens: Tokens) -> None:
    """The signature of a viewer's token signs no admin."""
    head, _, signature = tokens.issue_access(IDENTITY)[0].split(".")
    claims = encoded(json.dumps(good(role="admin")).encode())
    for forged in (f"{head}.{claims}.{signature}", f"{head}.{claims}.", f"{head}.{claims}"):
        with pytest.raises(UnauthorizedError):
            tokens.read_access(forged)


@given(st.data())
def test_no_changed_character_goes_unnoticed(data: st.DataObject) -> None:
    """Any other character at any place of a good token: refused, or the very same bytes in other clothes."""
    tokens = Tokens(KEYS, Clock())
    token, _ = tokens.issue_access(IDENTITY)
    at = data.draw(st.integers(0, len(token) - 1))
    sign = data.draw(st.sampled_from("Aa0_-.=é \0").filter(lambda s: s != token[at]))
    changed = f"{token[:at]}{sign}{token[at + 1 :]}"
    if at == len(token) - 1:
        return  # the last character of base64 has bits that nobody reads
    with pytest.raises(UnauthorizedError):
        tokens.read_access(changed)


@given(st.text(max_size=300) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_garbage_is_refused_like_any_wrong_token(text: str) -> None:
    """No text at all makes another error than 401."""
    tokens = Tokens(KEYS, Clock())
    for read in (tokens.read_access, tokens.read_challenge):
        with pytest.raises(UnauthorizedError):
            read(text)


def test_a_huge_token_is_refused_before_it_is_parsed(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is rightly signed: no parser meets a megabyte."""
    token = made(good(filling="x" * 1024))
    monkeypatch.setattr("jwt.get_unverified_header", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(UnauthorizedError):
        tokens.read_access(token)


def test_an_old_key_is_named_by_its_own_id() -> None:
    """A token of before a rotation is read by the key that it names, and by no other."""
    old = Keys([b"the previous secret of the tests"])
    token, _ = Tokens(old, Clock()).issue_access(IDENTITY)

    assert Tokens(KEYS, Clock()).read_access(token) == IDENTITY
    with pytest.raises(UnauthorizedError):
        Tokens(FOREIGN, Clock()).read_access(token)


def test_refresh_tokens_are_256_random_bits(tokens: Tokens) -> None:
    """Safe in a URL, never the same, and nothing in them to read."""
    made_now = {tokens.new_refresh() for _ in range(1000)}

    assert len(made_now) == 1000
    assert {len(base64.urlsafe_b64decode(f"{token}=")) for token in made_now} == {32}
