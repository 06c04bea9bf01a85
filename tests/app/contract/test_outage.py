"""Without PostgreSQL, and with allowances used up: what cannot be answered is refused as documented, and soon."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from schemathesis.checks import not_a_server_error

from tests.app.contract.api import DOCUMENT, LIMIT_S, LOGIN, PASSWORD, SCHEMA, Api, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    import schemathesis

    from tests.app.system import System

GOOD_REQUESTS = read(DOCUMENT, only_good=True)
REGISTER = "POST /api/v1/auth/register"
RECOVERED_WITHIN_S = 20.0
MORE_THAN_ALLOWED = 30


@pytest.fixture(scope="module")
def without_database(healthy: Api, world: System) -> Iterator[Api]:
    """Return a backend whose PostgreSQL was killed; afterwards it has one again."""
    world.postgres.kill()
    try:
        yield healthy
    finally:
        world.postgres.start()
        _wait_until_well(healthy)


def _wait_until_well(api: Api) -> None:
    ends_at = time.monotonic() + RECOVERED_WITHIN_S
    page = SCHEMA["/api/v1/videos"]["GET"].Case(query={"limit": 99})
    ready = SCHEMA["/readyz"]["GET"].Case()
    while any(c.call(api.url, timeout=LIMIT_S).status_code != HTTPStatus.OK for c in (page, ready)):
        assert time.monotonic() < ends_at, "the backend did not recover"
        time.sleep(0.05)


@GOOD_REQUESTS.parametrize()  # type: ignore[untyped-decorator]  # Schemathesis types it as a bare Callable
def test_refusals_without_database(case: schemathesis.Case[Any], without_database: Api) -> None:
    """With the critical dependency gone every answer is still a documented one; of the 5xx only 503."""
    for caller in without_database.callers(case.operation.definition.raw):
        answer = case.call_and_validate(
            without_database.url,
            headers=without_database.headers(caller),
            excluded_checks=[not_a_server_error],
            timeout=LIMIT_S,
        )
        assert answer.status_code < 500 or answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize(
    ("label", "body"),
    [
        (LOGIN, {"username": "visitor-30", "password": "not the password"}),
        (REGISTER, {"username": "visitor-30", "email": "a@b.example", "password": PASSWORD}),
    ],
)
def test_used_up_allowance(label: str, body: dict[str, str], api: Api) -> None:
    """Who tries too often from one address gets the documented 429, which says when to come back."""
    case = SCHEMA.find_operation_by_label(label).Case(body=body, media_type="application/json")
    address = {"X-Forwarded-For": "192.0.2.1"}
    for _ in range(MORE_THAN_ALLOWED):
        answer = case.call_and_validate(api.url, headers=address, timeout=LIMIT_S)
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            assert int(answer.headers["retry-after"][0]) >= 1
            return
    pytest.fail(f"{label}: never 429 in {MORE_THAN_ALLOWED} attempts")
