"""405 answers that name every method of the path, as RFC 9110 wants: Starlette names those of its first route alone."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException

from app.core.errors import problem_for

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.middleware.route_template import RouteTemplates


def install_method_errors(app: FastAPI, templates: RouteTemplates) -> None:
    """Make `app` answer a method that a path has not with all that it has."""
    methods = _documented(app)

    async def answer(request: Request, error: Exception) -> Response:
        known = methods.get(templates.of(request.scope))
        if known is not None:
            allow = {"Allow": ", ".join(sorted(known))}
            error = HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
        return problem_for(error)

    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, answer)


def _documented(app: FastAPI) -> dict[str, set[str]]:
    """Return the methods of each template; routes outside the document exist only to refuse."""
    found: dict[str, set[str]] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema and context.path:
            found.setdefault(context.path, set()).update(context.methods or ())
    return found
