"""What the OpenAPI document says beyond what FastAPI finds by itself: problems, and headers of every answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from app.core.errors import PROBLEM_MEDIA_TYPE

if TYPE_CHECKING:
    from fastapi import FastAPI

_MEANING = {
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request does not match the schema.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A dependency without fallback is away; `Retry-After` says when to try again.",
    HTTPStatus.GATEWAY_TIMEOUT: "No answer was ready in time.",
}
_REF = "#/components/schemas/{model}"


class FieldProblem(BaseModel):
    """What is wrong with one part of the request."""

    pointer: str = Field(examples=["/query/limit"])
    detail: str
    kind: str


class Problem(BaseModel):
    """An error, by RFC 9457."""

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str
    correlation_id: str = Field(
        description="The same as in the header X-Request-ID and in the logs."
    )
    errors: list[FieldProblem] | None = None


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an endpoint that may answer with these problems."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {int(s): {"description": _MEANING[s], "content": content} for s in statuses}


def install_openapi(app: FastAPI) -> None:
    """Make `app` describe itself in full."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]  # the way that FastAPI documents


def _build(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=_REF)
    schemas |= problem.pop("$defs", {})
    schemas["Problem"] = problem
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                response.setdefault("headers", {}).update(_headers(status))
    return document


def _headers(status: str) -> dict[str, Any]:
    text = {"type": "string"}
    headers: dict[str, Any] = {
        "X-Request-ID": {"schema": text, "description": "The request's id, also in the logs."},
        "traceparent": {"schema": text, "description": "W3C trace context."},
    }
    if status.startswith("2"):
        headers["X-Degraded"] = {
            "schema": text,
            "description": "Features that were answered by a fallback, comma separated; absent when none was.",
        }
    if status == str(int(HTTPStatus.SERVICE_UNAVAILABLE)):
        headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds."}
    return headers
