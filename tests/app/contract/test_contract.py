"""Schemathesis against the real process: what the document promises is what comes back, whatever is sent."""

from __future__ import annotations

import json
import urllib.request
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from schemathesis.core.parameters import ParameterLocation

from tests.app.contract.api import ANONYMOUS, DOCUMENT, LIMIT_S, SCHEMA, WORLD, Api, read

if TYPE_CHECKING:
    from collections.abc import Callable

VIDEO = "/api/v1/videos/{video_id}"


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]  # Schemathesis types it as a bare Callable
def test_answers_are_as_documented(case: schemathesis.Case[Any], api: Api) -> None:
    """Good and bad requests, with and without a token, get documented answers; none of them is a 5xx."""
    # What is wrong with a token would be mended by the token of a caller.
    wrong_token = case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER)
    for caller in [ANONYMOUS] if wrong_token else api.callers(case.operation.definition.raw):
        case.call_and_validate(base_url=api.url, headers=api.headers(caller), timeout=LIMIT_S)


def test_served_document_is_the_tested_one(api: Api) -> None:
    """What `/openapi.json` says is what these tests hold answers against."""
    with urllib.request.urlopen(f"{api.url}/openapi.json", timeout=LIMIT_S) as answer:
        assert json.load(answer) == DOCUMENT


def _no_such_status(answers: dict[str, Any]) -> None:
    del answers["200"]


def _another_type(answers: dict[str, Any]) -> None:
    answers["200"]["content"] = {"text/html": {}}


def _another_body(answers: dict[str, Any]) -> None:
    answers["200"]["content"]["application/json"]["schema"] = {"type": "array"}


def _one_more_header(answers: dict[str, Any]) -> None:
    answers["200"]["headers"]["X-Missing"] = {"required": True, "schema": {"type": "string"}}


@pytest.mark.parametrize(
    "lie",
    [_no_such_status, _another_type, _another_body, _one_more_header],
    ids=lambda f: f.__name__,
)
def test_a_false_document_is_found_out(lie: Callable[[dict[str, Any]], None], healthy: Api) -> None:
    """A status, a content type, a body or a header that is not as the document says is a failure."""
    document = deepcopy(DOCUMENT)
    lie(document["paths"][VIDEO]["get"]["responses"])
    case = read(document)[VIDEO]["GET"].Case(path_parameters={"video_id": str(WORLD.videos[0].id)})

    with pytest.raises(schemathesis.core.failures.FailureGroup):
        case.call_and_validate(base_url=healthy.url, timeout=LIMIT_S)
