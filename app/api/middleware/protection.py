"""What protects every request and answer: a bound on bodies, load shedding, security headers, CORS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from app.core.errors import AppError
from app.core.resilience.shedding import Shedder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp

    from app.core.config import Settings
    from app.core.metrics import Metrics

DOCUMENTATION = frozenset({"/docs", "/redoc"})
# Answers with these leave part of the body unread: on a connection that goes on it would be the next request.
CLOSE = {"Connection": "close"}

_BASIC_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
# Nothing that this API sends is a page; the pages of the documentation load scripts.
_NO_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_EXPOSED = ("X-Request-ID", "traceparent", "X-Degraded", "Retry-After")
_ASKED = ("Authorization", "Content-Type", "X-Request-ID", "traceparent")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# The routes whose bodies are streamed and not held in memory: they have limits of their own (`BodyRule`).
UPLOADS = ("POST", "/api/v1/videos")
UPLOAD_IDLE_S = 5.0
UPLOAD_TOTAL_S = 900.0

Headers = tuple[tuple[bytes, bytes], ...]


class BodyTooLargeError(HTTPException):
    """413. An HTTPException, since FastAPI makes a 400 of all else that ends the reading of a body."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is larger than {max_bytes} bytes",
            headers=CLOSE,
        )


class BodyTooSlowError(HTTPException):
    """408: the time was over while the client was still sending."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive within {limit_s:g} s",
            headers=CLOSE,
        )


class OverloadedError(AppError):
    """503: the request was shed. It has changed nothing, so it may be sent again."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Overloaded",
            "there are more requests than can be answered in time; try again in a moment",
            retry_after_s=1.0,
        )


@dataclass(frozen=True, slots=True)
class BodyRule:
    """The limits of a body that is streamed.

    It is its pace that is limited: some of it must come every `idle_s`, all within `total_s`. Once it is there the
    answer has `answer_s`, or as long as its endpoint asks for by `extend_deadline`.
    """

    max_bytes: int
    idle_s: float
    total_s: float
    answer_s: float


@dataclass(frozen=True, slots=True)
class Protection:
    """The limits and headers of one application."""

    max_body_bytes: int
    streamed: Mapping[tuple[str, str], BodyRule]
    """The limits of streamed bodies by method and path."""
    shedder: Shedder
    headers: Headers
    page_headers: Headers
    """Those of the documentation."""
    with_cors: Callable[[ASGIApp], ASGIApp] | None
    """Wraps what the middleware answers by itself, outside CORSMiddleware; None while CORS is closed."""

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Protection:
        """Build it from the settings."""
        origins = settings.cors_allow_origins
        resource_policy = b"cross-origin" if origins else b"same-origin"
        page_headers: Headers = (
            *_BASIC_HEADERS,
            (b"cross-origin-resource-policy", resource_policy),
        )
        if settings.environment != "development":
            page_headers = (*page_headers, _ONLY_TLS)
        return cls(
            settings.max_body_bytes,
            {
                UPLOADS: BodyRule(
                    settings.max_upload_bytes,
                    UPLOAD_IDLE_S,
                    UPLOAD_TOTAL_S,
                    settings.request_deadline_s,
                )
            },
            Shedder(metrics, max_in_flight=settings.max_in_flight, wait_s=settings.shed_wait_s),
            headers=(*page_headers, _NO_PAGE),
            page_headers=page_headers,
            with_cors=partial(_cors, origins) if origins else None,
        )


def _cors(origins: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """Let the pages of these origins call. Never with credentials: tokens travel in a header, no cookie exists."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=_ASKED,
        expose_headers=_EXPOSED,
        allow_credentials=False,
        max_age=600,
    )
