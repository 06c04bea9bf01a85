"""The OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.core.config import Settings
from app.main import create_app

if TYPE_CHECKING:
    from app.core.metrics import Metrics

GET = {
    "/api/v1/videos": {"200", "422", "503", "504"},
    "/api/v1/videos/trending": {"200", "503", "504"},
    "/api/v1/videos/{video_id}": {"200", "404", "422", "503", "504"},
    "/api/v1/videos/{video_id}/thumbnail": {"200", "422", "504"},
    "/livez": {"200"},
    "/readyz": {"200", "503"},
    "/api/v1/health": {"200"},
    "/api/v1/health/detailed": {"200"},
}


@pytest.fixture
def document(metrics: Metrics) -> dict[str, Any]:
    """Return the application's document."""
    return create_app(Settings(), metrics).openapi()


def test_all_answers_are_documented(document: dict[str, Any]) -> None:
    """Every route says which answers it may give."""
    documented = {p: set(o["get"]["responses"]) for p, o in document["paths"].items() if "get" in o}

    assert documented == GET
    views = document["paths"]["/api/v1/videos/{video_id}/views"]["post"]
    assert set(views["responses"]) == {"202", "404", "422", "503", "504"}


def test_problems_are_problem_documents(document: dict[str, Any]) -> None:
    """Errors refer to one schema under their own media type, and 503 announces Retry-After."""
    responses = document["paths"]["/api/v1/videos/{video_id}"]["get"]["responses"]
    for status in ("404", "422", "503", "504"):
        schema = responses[status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}

    assert "correlation_id" in document["components"]["schemas"]["Problem"]["properties"]
    assert "Retry-After" in responses["503"]["headers"]
    assert "X-Degraded" in responses["200"]["headers"]


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


def test_counters_exist_before_the_first_request(metrics: Metrics) -> None:
    """Every route has its error counters at start, so that the first error is an increase; probes have none."""
    create_app(Settings(), metrics)
    born = {
        (s.labels["method"], s.labels["route"])
        for family in metrics.registry.collect()
        if family.name == "http_requests"
        for s in family.samples
        if s.labels["status_code"] == "503"
    }

    assert born == {
        *(("GET", route) for route in GET if route.startswith("/api/v1/videos")),
        ("POST", "/api/v1/videos/{video_id}/views"),
        ("GET", "unmatched"),
    }
