"""The OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.api.middleware.observability import UNCOUNTED
from app.core.config import Settings
from app.main import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.core.metrics import Metrics

PROBLEM = "application/problem+json"
PROBES = {
    "/livez": {"200", "413"},
    "/readyz": {"200", "413", "503"},
    "/api/v1/health": {"200", "413"},
    "/api/v1/health/detailed": {"200", "413"},
}
VIDEOS = {
    ("get", "/api/v1/videos"): {"200", "413", "422", "503", "504"},
    ("get", "/api/v1/videos/trending"): {"200", "413", "503", "504"},
    ("get", "/api/v1/videos/{video_id}"): {"200", "404", "413", "422", "503", "504"},
    ("get", "/api/v1/videos/{video_id}/thumbnail"): {"200", "413", "422", "503", "504"},
    ("post", "/api/v1/videos/{video_id}/views"): {"202", "404", "413", "422", "503", "504"},
}


@pytest.fixture
def document(metrics: Metrics) -> dict[str, Any]:
    """Return the application's document."""
    return create_app(Settings(), metrics).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation of each."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_answers_of_known_routes(document: dict[str, Any]) -> None:
    """Routes say which answers they may give: their own, and those that come from around them."""
    documented = {(m, p): set(o["responses"]) for m, p, o in operations(document)}

    assert documented.items() >= VIDEOS.items()
    assert {p: s for (_, p), s in documented.items() if p in UNCOUNTED} == PROBES


def test_answers_from_around_a_route(document: dict[str, Any]) -> None:
    """All document 413, all but the probes 503 and 504; those with a body also what may be wrong with a body."""
    for method, path, operation in operations(document):
        if path in UNCOUNTED:
            continue
        expected = {"413", "503", "504"}
        if "requestBody" in operation:
            expected |= {"408", "422"}
        if "parameters" in operation:
            expected |= {"422"}
        assert expected <= set(operation["responses"]), f"{method} {path}"


def test_errors_are_problem_documents(document: dict[str, Any]) -> None:
    """Errors refer to one schema under their own media type; the probe's 503 alone is its report."""
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status < "400" or path == "/readyz":
                continue
            expected = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            assert response["content"] == expected, f"{method} {path} {status}"

    schemas = document["components"]["schemas"]
    assert "correlation_id" in schemas["Problem"]["properties"]
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)


def test_headers_of_every_answer(document: dict[str, Any]) -> None:
    """Ids are promised on every answer; when to come back with 429, 503, 504; the scheme with 401."""
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            promised = {name for name, h in response["headers"].items() if h["required"]}
            expected = {"X-Request-ID", "traceparent"}
            if status in {"429", "503", "504"} and path != "/readyz":
                expected |= {"Retry-After"}
            if status == "401":
                expected |= {"WWW-Authenticate"}
            assert expected <= promised, f"{method} {path} {status}"
            assert "X-Degraded" in response["headers"]


def test_protected_routes_name_their_scheme(document: dict[str, Any]) -> None:
    """A route that wants a token says so, refers to a bearer scheme and documents 401."""
    schemes = document["components"].get("securitySchemes", {})
    for method, path, operation in operations(document):
        for requirement in operation.get("security", ()):
            for name in requirement:
                assert (schemes[name]["type"], schemes[name]["scheme"]) == ("http", "bearer")
            assert "401" in operation["responses"], f"{method} {path}"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """No $ref points at a schema that is not there."""
    schemas = document["components"]["schemas"]
    references = _references(document)

    assert references
    assert {r.removeprefix("#/components/schemas/") for r in references} <= set(schemas)


def _references(part: object) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if "$ref" in part else set()
        return own.union(*(_references(each) for each in part.values()))
    if isinstance(part, list):
        return set().union(*(_references(each) for each in part))
    return set()


def test_counters_exist_before_the_first_request(
    document: dict[str, Any], metrics: Metrics
) -> None:
    """Every route has its error counters at start, so that the first error is an increase; probes have none."""
    born = {
        (s.labels["method"], s.labels["route"])
        for family in metrics.registry.collect()
        if family.name == "http_requests"
        for s in family.samples
        if s.labels["status_code"] == "503"
    }

    served = {(m.upper(), p) for m, p, _ in operations(document) if p not in UNCOUNTED}
    assert born >= served | {("GET", "unmatched")}
    assert not {route for _, route in born} & UNCOUNTED
