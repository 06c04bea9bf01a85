"""What every route refuses, and how: methods that it has not, callers without a token, bodies that are too large."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.app.contract.api import ADMIN, DOCUMENT, LIMIT_S, SCHEMA, Api

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
PROBLEM = "application/problem+json"
OPERATIONS = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]
PROTECTED = [(m, p) for m, p in OPERATIONS if DOCUMENT["paths"][p][m.lower()].get("security")]
WITH_BODY = [(m, p) for m, p in OPERATIONS if "requestBody" in DOCUMENT["paths"][p][m.lower()]]
NONE: Mapping[str, str] = {}
TOO_LARGE = 1_000_000_000
MALFORMED = {
    "empty": b"",
    "cut off": b'{"username": ',
    "no UTF-8": b'{"username": "\xff"}',
    "NaN": b'{"username": NaN}',
    "a key twice": b'{"username": "a", "username": "b"}',
    "deep": b"[" * 30_000,
    "a long number": b'{"username": ' + b"9" * 30_000 + b"}",
    "half a character": b'{"\\ud800": "\\ud800"}',
    "a NUL": b'{"username": "\\u0000", "\\u0000": 0}',
}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def send(
    api: Api, method: str, path: str, headers: Mapping[str, str] = NONE, *, body: bytes = b""
) -> Answer:
    """Send one request as it is."""
    for name in ("video_id", "user_id"):
        path = path.replace(f"{{{name}}}", str(uuid4()))
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=LIMIT_S)
    try:
        connection.request(method, path, body, {**api.headers(), **headers})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_methods_that_a_route_has_not(path: str, api: Api) -> None:
    """405 is a problem document, and `Allow` names exactly the documented methods."""
    allowed = {method.upper() for method in DOCUMENT["paths"][path]}
    for method in METHODS:
        if method in allowed:
            continue
        answer = send(api, method, path)
        assert answer.status == 405, method
        assert set(answer.headers["allow"].split(", ")) == allowed, method
        assert answer.headers["content-type"] == PROBLEM
        assert {"x-request-id", "traceparent"} <= set(answer.headers)
        if method != "HEAD":
            assert json.loads(answer.body)["status"] == 405


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_no_redirect_to_where_the_caller_says(path: str, api: Api) -> None:
    """A path with a slash too many is 404, not a redirect that would be built from the caller's Host."""
    answer = send(api, "GET", f"{path}/", {"Host": "elsewhere.example"})

    assert answer.status == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("token", [None, "", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi"])
def test_no_answer_without_a_token(method: str, path: str, token: str | None, api: Api) -> None:
    """Who proves nothing gets 401 with the wanted scheme, before anything else of the request is looked at."""
    answer = send(api, method, path, NONE if token is None else {"Authorization": token})

    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_body_that_is_too_large(method: str, path: str, api: Api) -> None:
    """A body beyond the limit is refused with the documented 413, wherever it is sent, before it is sent."""
    answer = send(api, method, path, {"Content-Length": str(TOO_LARGE)})

    assert answer.status == 413
    assert answer.headers["content-type"] == PROBLEM
    if method != "HEAD":
        assert json.loads(answer.body)["correlation_id"] == answer.headers["x-request-id"]
    assert "413" in SCHEMA[path][method].definition.raw["responses"]


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_body_that_cannot_be_read(method: str, path: str, body: bytes, api: Api) -> None:
    """What is no JSON, or JSON of two meanings, is the documented 422 and never a 400 or a 5xx."""
    headers = {"Content-Type": "application/json", **api.headers(ADMIN.username)}
    answer = send(api, method, path, headers, body=body)

    assert answer.status == 422
    assert answer.headers["content-type"] == PROBLEM
    assert "422" in SCHEMA[path][method].definition.raw["responses"]
