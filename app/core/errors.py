"""Errors that become answers: RFC 9457 problem details, each with the request's correlation id."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.core.context import current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

PROBLEM_MEDIA_TYPE = "application/problem+json"
# A body of nothing but mistakes must not make an answer many times its size.
MAX_FIELD_PROBLEMS = 20
MAX_POINTER = 200

log = structlog.get_logger(component="api")


class AppError(Exception):
    """An error that the client may see. `detail` names no host, no query, no secret."""

    def __init__(
        self, status: int, title: str, detail: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s


class NotFoundError(AppError):
    """404: what was asked for does not exist."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, "Not found", detail)


class UnauthorizedError(AppError):
    """401: who the caller is was not proved. One text for all causes, so that it tells nothing of accounts."""

    def __init__(self, detail: str = "the credentials are not valid") -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, "Unauthorized", detail)


class ForbiddenError(AppError):
    """403: the caller is known and may not do this."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, "Forbidden", detail)


class ConflictError(AppError):
    """409: what is there already does not allow this."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.CONFLICT, "Conflict", detail)


class TooManyRequestsError(AppError):
    """429: the caller has used up an allowance; it is worth another try after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many requests",
            "too many attempts; try again later",
            retry_after_s,
        )


class UnavailableError(AppError):
    """503: `dependency` cannot be reached and there is no fallback; worth another try soon."""

    def __init__(self, dependency: str, retry_after_s: float = 1.0) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Service unavailable",
            f"{dependency} is unavailable; try again in a moment",
            retry_after_s,
        )
        self.dependency = dependency


class StorageFullError(AppError):
    """507: the store is away, and what may be kept here until it is back would not fit."""

    def __init__(self, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            HTTPStatus.INSUFFICIENT_STORAGE,
            "Insufficient storage",
            f"{needed_bytes} bytes cannot be kept now; try again later",
            retry_after_s=5.0,
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class DeadlineExceededError(AppError):
    """504: the request's time was over before its answer was ready."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            HTTPStatus.GATEWAY_TIMEOUT,
            "Deadline exceeded",
            f"no answer was ready within {limit_s:g} s; try again",
            retry_after_s=1.0,
        )
        self.limit_s = limit_s


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    retry_after_s: float | None = None,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the answer. `Retry-After` is in whole seconds (RFC 9110), never less than the wait."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": int(status),
        "detail": detail,
    }
    context = current.get()
    if context is not None:
        body["correlation_id"] = context.correlation_id
    if errors:
        body["errors"] = errors
    # What failed now may work in a moment, and may concern one caller alone.
    out = {"Cache-Control": "no-store", **(headers or {})}
    if retry_after_s is not None:
        out["Retry-After"] = str(max(1, ceil(retry_after_s)))
    return Response(orjson.dumps(body), status, out, media_type=PROBLEM_MEDIA_TYPE)


def problem_for(error: BaseException) -> Response:
    """Build the answer to any error; one that nobody expected says nothing of its cause."""
    if isinstance(error, AppError):
        unproved = error.status == HTTPStatus.UNAUTHORIZED
        return problem_response(
            error.status,
            error.title,
            error.detail,
            retry_after_s=error.retry_after_s,
            headers={"WWW-Authenticate": "Bearer"} if unproved else None,
        )
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        return problem_response(error.status_code, title, str(error.detail), headers=error.headers)
    if isinstance(error, RequestValidationError):
        return problem_response(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Unprocessable content",
            "the request does not match the schema; see errors",
            errors=[_field_problem(e) for e in error.errors()[:MAX_FIELD_PROBLEMS]],
        )
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error", "the request could not be served"
    )


def _field_problem(error: Mapping[str, Any]) -> dict[str, Any]:
    """Keep place, message and kind; leave the value out, which may be a password.

    The place may be a name that the caller chose, of any length.
    """
    place = "/" + "/".join(str(part) for part in error["loc"])
    return {
        "pointer": place[:MAX_POINTER],
        "detail": error["msg"],
        "kind": error["type"],
    }


async def _answer(_request: Request, error: Exception) -> Response:
    return problem_for(error)


async def _answer_unexpected(_request: Request, error: Exception) -> Response:
    log.error("unhandled_error", error_type=type(error).__name__, exc_info=error)
    return problem_for(error)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    for kind in (AppError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(Exception, _answer_unexpected)
