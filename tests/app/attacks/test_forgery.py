"""Tokens that the backend never gave out, and roles that it never gave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import jwt
import orjson
import pytest

from app.core.config import DEVELOPMENT_SECRET_KEY
from app.core.security.keys import Keys
from app.core.security.tokens import Identity, Tokens
from app.models import Role
from app.seed.world import build_world
from tests.app.people import Person, newcomer, registration, stranger, visitor
from tests.app.system import query

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from tests.app.system import System

ADMINS = "/admin/users"


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (
        orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in token.split(".")[:2]
    )
    return header, claims


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode("ascii")


def _no_algorithm(token: str, _keys: Keys) -> str:
    header, claims = _parts(token)
    return f"{_part(header | {'alg': 'none'})}.{_part(claims)}."


def _no_signature(token: str, _keys: Keys) -> str:
    return token.rpartition(".")[0] + "."


def _changed_claims(token: str, _keys: Keys) -> str:
    header, claims = _parts(token)
    return f"{_part(header)}.{_part(claims | {'exp': claims['exp'] + 3600})}.{token.rpartition('.')[2]}"


def _wrong_key(token: str, _keys: Keys) -> str:
    header, claims = _parts(token)
    return jwt.encode(claims, "k" * 32, "HS256", headers={"kid": header["kid"]})


def _master_key(token: str, _keys: Keys) -> str:
    header, claims = _parts(token)
    return jwt.encode(claims, DEVELOPMENT_SECRET_KEY, "HS256", headers={"kid": header["kid"]})


def _wrong_algorithm(token: str, keys: Keys) -> str:
    header, claims = _parts(token)
    return jwt.encode(claims, keys.signing_key[1] * 2, "HS512", headers={"kid": header["kid"]})


def _right_key_wrong_algorithm(token: str, keys: Keys) -> str:
    header, claims = _parts(token)
    key = keys.signing_key[1]
    signed = f"{_part(header | {'alg': 'HS384'})}.{_part(claims)}"
    digest = hmac.digest(key, signed.encode(), hashlib.sha384)
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode('ascii')}"


def _unknown_key_id(token: str, keys: Keys) -> str:
    _, claims = _parts(token)
    return jwt.encode(claims, keys.signing_key[1], "HS256", headers={"kid": "../../etc/passwd"})


def _expired(token: str, keys: Keys) -> str:
    return _by_the_right_key(token, keys, exp=int(time.time()) - 1)


def _for_another_audience(token: str, keys: Keys) -> str:
    return _by_the_right_key(token, keys, aud="challenge")


def _without_expiry(token: str, keys: Keys) -> str:
    return _by_the_right_key(token, keys, exp=None)


def _by_the_right_key(token: str, keys: Keys, **changes: object) -> str:
    header, claims = _parts(token)
    claims = {key: value for key, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, keys.signing_key[1], "HS256", headers={"kid": header["kid"]})


FORGERIES = (
    *(_no_algorithm, _no_signature, _changed_claims, _wrong_key, _master_key, _wrong_algorithm),
    *(_right_key_wrong_algorithm, _unknown_key_id, _expired, _for_another_audience),
    _without_expiry,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
async def test_forged_token(
    app: FastAPI, system: System, forge: Callable[[str, Keys], str]
) -> None:
    """A token that was made or changed by anybody else is refused, even when its claims are an administrator's."""
    keys = Keys.of(system.settings())
    person = Person(app, "nobody")
    admin = build_world().users[0]
    real, _ = Tokens(keys).issue_access(Identity(admin.id, Role.ADMIN, admin.id))

    assert (await person.send("GET", ADMINS, token=real)).status == 200
    assert (await person.send("GET", ADMINS, token=forge(real, keys))).status == 401


async def test_role_in_the_token_is_not_believed(app: FastAPI, system: System) -> None:
    """Even a validly signed token that says admin moves nothing when the database says viewer."""
    person = await newcomer(app)
    account = (await person.send("GET", "/auth/me")).json()
    user_id = await query(system, "SELECT id FROM users WHERE username = $1", person.username)
    token, _ = Tokens(Keys.of(system.settings())).issue_access(
        Identity(user_id, Role.ADMIN, user_id)
    )
    path = f"{ADMINS}/{account['id']}/role"
    video = build_world().videos[0]
    answers = [
        await person.send("PUT", path, {"role": "admin"}, token),
        await person.send("GET", ADMINS, token=token),
        await person.send("PATCH", f"/videos/{video.id}", {"title": "Mine now"}, token),
    ]

    assert [answer.status for answer in answers] == [403, 403, 403]
    assert (await person.send("GET", "/auth/me")).json()["role"] == "viewer"


@pytest.mark.parametrize("extra", [{"role": "admin"}, {"Role": "admin"}, {"is_admin": True}])
async def test_role_in_the_registration(app: FastAPI, extra: dict[str, object]) -> None:
    """A registration that names a role is refused, and no account is made."""
    person = stranger(app)
    answer = await person.send("POST", "/auth/register", registration(person) | extra)

    assert answer.status == 422
    assert (await person.log_in()).status == 401


async def test_role_for_oneself(app: FastAPI) -> None:
    """Neither a viewer nor a creator can give a role to anybody."""
    viewer = visitor(app)
    await viewer.arrive()
    creator = Person(app, next(u.username for u in build_world().users if u.role == "creator"))
    await creator.arrive()
    for person in (viewer, creator):
        account = (await person.send("GET", "/auth/me")).json()
        path = f"{ADMINS}/{account['id']}/role"
        assert (await person.send("PUT", path, {"role": "admin"})).status == 403
        assert (await person.send("GET", "/auth/me")).json()["role"] == account["role"]
