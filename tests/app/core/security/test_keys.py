"""Keys: one purpose, one key; a rotation opens the old and closes nothing new with it."""

from __future__ import annotations

from itertools import combinations
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.core.config import Settings
from app.core.errors import UnauthorizedError
from app.core.security.keys import Keys, SealBrokenError, derive, key_id
from app.core.security.tokens import Identity, Tokens
from app.models.user import Role

OLD, NEW = "an old secret key of forty characters ...", "a new secret key of forty characters ...."
PURPOSES = ("pseudonym", "pepper", "seal", "sign", "key id")
IDENTITY = Identity(UUID(int=1), Role.VIEWER, UUID(int=2))


def keys_of(current: str, *previous: str) -> Keys:
    """Return what an application with these secrets has."""
    return Keys.of(
        Settings(
            secret_key=SecretStr(current), previous_secret_keys=SecretStr(" , ".join(previous))
        )
    )


def test_keys_are_those_of_the_standard() -> None:
    """RFC 5869 with SHA-256, the purpose as its info: what is stored can be opened by other tools."""
    other = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"social-flow/1/seal")
    assert derive(b"secret", "seal") == other.derive(b"secret")


def test_keys_for_different_purposes_differ() -> None:
    """No key serves twice, and none is the secret or shows a part of it."""
    derived = [derive(OLD.encode(), purpose) for purpose in PURPOSES]

    assert all(len(key) == 32 for key in derived)
    for one, other in combinations(derived, 2):
        assert one != other
    assert OLD.encode() not in derived


def test_different_secrets_give_different_keys_for_every_purpose() -> None:
    """Who has one installation's keys has nothing of another's."""
    for purpose in PURPOSES:
        assert derive(OLD.encode(), purpose) != derive(NEW.encode(), purpose)


@given(st.text(max_size=80), st.text(max_size=80))
def test_pseudonyms_are_stable_and_ignore_case(one: str, other: str) -> None:
    """16 hex digits; the same for each spelling in other case, different for different names."""
    keys = keys_of(OLD)
    name = keys.pseudonym(one)

    assert len(name) == 16
    assert int(name, 16) >= 0
    assert name == keys.pseudonym(one.casefold())
    if one.casefold() != other.casefold():
        assert name != keys.pseudonym(other)
    assert name != keys_of(NEW).pseudonym(one)


def test_half_a_surrogate_pair_is_a_text_like_any_other() -> None:
    """JSON may carry it; it must not become an error that quotes what was typed."""
    keys = keys_of(OLD)

    assert len(keys.pseudonym("\ud800")) == 16
    assert len(keys.pepper("refresh", "\ud800")) == 32


def test_peppers_of_different_purposes_differ() -> None:
    """A recovery code is no refresh token, also when both are the same text; nor does the boundary move."""
    keys = keys_of(OLD)

    assert keys.pepper("refresh", "x") != keys.pepper("recovery", "x")
    assert keys.pepper("a", "bc") != keys.pepper("ab", "c")
    assert keys.pepper("refresh", "x") == keys_of(OLD).pepper("refresh", "x")


@given(st.binary(max_size=200))
def test_what_was_sealed_is_unsealed(plain: bytes) -> None:
    """Back comes what went in; the sealed form shows it nowhere and differs each time."""
    keys = keys_of(OLD)
    sealed = keys.seal(plain)

    assert keys.unseal(sealed) == plain
    assert keys.seal(plain) != sealed


@pytest.mark.parametrize("at", [0, 1, 20, 60, -1])
def test_a_seal_that_was_touched_does_not_open(at: int) -> None:
    """One changed bit, anywhere, is noticed; the error quotes nothing."""
    keys = keys_of(OLD)
    sealed = bytearray(keys.seal(b"JBSWY3DPEHPK3PXP"))
    sealed[at] ^= 1
    with pytest.raises(SealBrokenError, match="a sealed value cannot be opened"):
        keys.unseal(bytes(sealed))


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 100, b"gAAAAA"])
def test_garbage_does_not_open(garbage: bytes) -> None:
    """Whatever the database holds, the error is the same."""
    with pytest.raises(SealBrokenError):
        keys_of(OLD).unseal(garbage)


def test_after_a_rotation_the_old_is_still_read() -> None:
    """Tokens, seals and peppers of before a rotation do their work on."""
    before, after = keys_of(OLD), keys_of(NEW, OLD)

    assert Tokens(after).read_access(Tokens(before).issue_access(IDENTITY)[0]) == IDENTITY
    assert Tokens(after).read_challenge(Tokens(before).issue_challenge(UUID(int=1))).int == 1
    assert after.unseal(before.seal(b"secret")) == b"secret"
    assert before.pepper("refresh", "x") in after.peppers("refresh", "x")


def test_after_a_rotation_nothing_new_is_closed_with_the_old_key() -> None:
    """Who holds only the old key can read nothing new, and finds no new pepper or name."""
    before, after = keys_of(OLD), keys_of(NEW, OLD)

    with pytest.raises(UnauthorizedError):
        Tokens(before).read_access(Tokens(after).issue_access(IDENTITY)[0])
    with pytest.raises(UnauthorizedError):
        Tokens(before).read_challenge(Tokens(after).issue_challenge(UUID(int=1)))
    with pytest.raises(SealBrokenError):
        before.unseal(after.seal(b"secret"))
    assert after.pepper("refresh", "x") not in before.peppers("refresh", "x")
    assert after.pepper("refresh", "x") == after.peppers("refresh", "x")[0]
    assert after.pseudonym("ada") == keys_of(NEW).pseudonym("ada") != before.pseudonym("ada")


def test_a_key_that_is_dropped_is_dead() -> None:
    """Once it is in neither setting, what it closed stays closed."""
    dropped, now = keys_of(OLD), keys_of(NEW)

    with pytest.raises(UnauthorizedError):
        Tokens(now).read_access(Tokens(dropped).issue_access(IDENTITY)[0])
    with pytest.raises(SealBrokenError):
        now.unseal(dropped.seal(b"secret"))
    assert dropped.pepper("refresh", "x") not in now.peppers("refresh", "x")


def test_a_key_that_is_named_twice_counts_once() -> None:
    """A list that still holds the current key costs no second look-up."""
    assert len(keys_of(OLD, OLD, NEW).peppers("refresh", "x")) == 2


def test_no_secret_is_shown() -> None:
    """Neither the object's text nor the id of a key tells the secret."""
    keys = keys_of(OLD, NEW)

    assert OLD not in repr(keys) + str(keys)
    assert key_id(OLD.encode()) in keys.signing_keys
    assert derive(OLD.encode(), "sign").hex() not in repr(keys) + key_id(OLD.encode())


def test_without_a_secret_there_are_no_keys() -> None:
    """Keys of nothing would be everybody's."""
    with pytest.raises(ValueError, match="set SECRET_KEY"):
        keys_of("")
