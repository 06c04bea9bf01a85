"""What the OpenAPI document says beyond what FastAPI finds by itself.

FastAPI knows parameters and the answer of success. What any route may answer because of what stands around it (the
size and the pace of bodies, the bearer token, shedding, the deadline) is added here, once; an endpoint names only
the problems that are its own, with `problems`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from app.core.errors import PROBLEM_MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

PROBES = "health"
"""The tag of what is never shed and needs no time: it answers from memory."""

_MEANING = {
    HTTPStatus.UNAUTHORIZED: "Who is asking was not proved.",
    HTTPStatus.FORBIDDEN: "The account may not do this.",
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.REQUEST_TIMEOUT: "The body came too slowly.",
    HTTPStatus.CONFLICT: "What is there already does not allow this.",
    HTTPStatus.BAD_REQUEST: "The request contradicts itself.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "By its first bytes the file is none that is taken.",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "The range begins behind the end.",
    HTTPStatus.INSUFFICIENT_STORAGE: "There is no room now; `Retry-After` says when to try again.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than what is accepted.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request does not match the schema.",
    HTTPStatus.TOO_MANY_REQUESTS: "An allowance is used up; `Retry-After` says when to try again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Overloaded, or a dependency without fallback is away; "
    "`Retry-After` says when to try again.",
    HTTPStatus.GATEWAY_TIMEOUT: "No answer was ready in time.",
}
# A body is measured before it is known whether anybody reads it.
_OF_EVERY_ROUTE = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE,)
_OF_WORK = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_OF_BODIES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNPROCESSABLE_ENTITY)
_OF_PROTECTED_ROUTES = (HTTPStatus.UNAUTHORIZED,)
_WORTH_ANOTHER_TRY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
        HTTPStatus.INSUFFICIENT_STORAGE,
    }
)
_REF = "#/components/schemas/{model}"
# What FastAPI writes for its own form of errors, which `app.core.errors` replaces.
_NEVER_SENT = ("HTTPValidationError", "ValidationError")


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
    for name in _NEVER_SENT:
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    """Add the answers that come from around the endpoint, and the headers of every answer."""
    responses = operation["responses"]
    for status, response in problems(*_from_around(operation)).items():
        if _is_fastapis_own(responses.get(str(status))):
            del responses[str(status)]
        responses.setdefault(str(status), response)
    operation["responses"] = dict(sorted(responses.items()))
    for status, response in operation["responses"].items():
        is_problem = PROBLEM_MEDIA_TYPE in response.get("content", ())
        response["headers"] = {
            **_headers(status, is_problem=is_problem),
            **response.get("headers", {}),
        }


def _from_around(operation: dict[str, Any]) -> Iterator[HTTPStatus]:
    yield from _OF_EVERY_ROUTE
    if PROBES not in operation.get("tags", ()):
        yield from _OF_WORK
    if "requestBody" in operation:
        yield from _OF_BODIES
    if "security" in operation:
        yield from _OF_PROTECTED_ROUTES
    if operation.get("parameters"):
        yield HTTPStatus.UNPROCESSABLE_ENTITY


def _is_fastapis_own(response: dict[str, Any] | None) -> bool:
    return response is not None and any(name in str(response) for name in _NEVER_SENT)


def _headers(status: str, *, is_problem: bool) -> dict[str, Any]:
    """Return the headers of an answer; a required one is in each."""
    headers = {
        "X-Request-ID": _header("The request's id, also in the logs.", required=True),
        "traceparent": _header("W3C trace context.", required=True),
        "X-Degraded": _header(
            "Features that were answered by a fallback, comma separated; absent when none was."
        ),
    }
    if is_problem and int(status) in _WORTH_ANOTHER_TRY:
        headers["Retry-After"] = _header(
            "Seconds.", required=True, schema={"type": "integer", "minimum": 1}
        )
    if status == str(int(HTTPStatus.UNAUTHORIZED)):
        headers["WWW-Authenticate"] = _header("The scheme that is wanted: Bearer.", required=True)
    return headers


def _header(
    description: str, *, required: bool = False, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "description": description,
        "required": required,
        "schema": schema or {"type": "string"},
    }
