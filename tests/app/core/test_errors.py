"""Errors as clients see them: problem details and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from app.core.context import RequestContext, current
from app.core.errors import (
    AppError,
    DeadlineExceededError,
    NotFoundError,
    UnavailableError,
    install_error_handlers,
)
from tests.app.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send


class Login(BaseModel):
    """A body with something to hide."""

    password: str
    code: int


def make_app() -> FastAPI:
    """Build an app whose routes fail, each in its way."""
    app = FastAPI()
    install_error_handlers(app)
    errors: dict[str, Exception] = {
        "missing": NotFoundError("there is no video 1"),
        "unavailable": UnavailableError("postgres", retry_after_s=0.2),
        "late": DeadlineExceededError(1.5),
        "teapot": AppError(418, "Teapot", "short and stout"),
        "forbidden": HTTPException(403, "not yours", headers={"X-Why": "owner"}),
        "bug": RuntimeError("dsn postgresql://app:pass-word@db/x"),
    }

    @app.get("/fail/{how}")
    async def fail(how: str) -> None:
        raise errors[how]

    @app.post("/login")
    async def login(body: Login) -> None:
        raise AssertionError(body)

    return app


class InRequest:
    """Gives each request its context, as the correlation layer does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        current.set(RequestContext("req-1", "trace"))
        await self.app(scope, receive, send)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str
    body: dict[str, Any]


class Client:
    """Talks to the app over a real connection."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http

    async def __call__(self, method: str, path: str, **more: Any) -> Answer:
        """Send a request and read its answer whole."""
        async with self.http.request(method, path, **more) as answer:
            text = await answer.text()
            return Answer(answer.status, answer.headers, text, await answer.json(content_type=None))


@pytest.fixture
async def ask() -> AsyncIterator[Client]:
    """The app on a free port, and a client."""
    config = uvicorn.Config(InRequest(make_app()), port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    limit = aiohttp.ClientTimeout(5.0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=limit) as http:
        yield Client(http)
    server.should_exit = True
    await asyncio.wait_for(serving, 5.0)


@pytest.mark.parametrize(
    ("how", "status", "title"),
    [
        ("missing", 404, "Not found"),
        ("unavailable", 503, "Service unavailable"),
        ("late", 504, "Deadline exceeded"),
        ("teapot", 418, "Teapot"),
        ("forbidden", 403, "Forbidden"),
        ("bug", 500, "Internal server error"),
    ],
)
async def test_every_error_is_a_problem_document(
    ask: Client, how: str, status: int, title: str
) -> None:
    """Status, title and media type are those of RFC 9457, with the request's correlation id."""
    answer = await ask("GET", f"/fail/{how}")

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.body
    assert (body["type"], body["title"], body["status"]) == ("about:blank", title, status)
    assert body["correlation_id"] == "req-1"


async def test_unavailable_says_when_to_come_back(ask: Client) -> None:
    """Retry-After is in whole seconds, and never 0 for a wait that is not."""
    answer = await ask("GET", "/fail/unavailable")

    assert answer.headers["retry-after"] == "1"


async def test_headers_of_an_http_exception_are_kept(ask: Client) -> None:
    """What a route wanted to send along is sent."""
    answer = await ask("GET", "/fail/forbidden")

    assert answer.headers["x-why"] == "owner"


async def test_a_bug_tells_the_client_nothing(ask: Client) -> None:
    """No message, no type, no trace of what nobody expected."""
    answer = await ask("GET", "/fail/bug")

    assert "pass-word" not in answer.text
    assert "RuntimeError" not in answer.text


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/login", 405)])
async def test_answers_of_the_router_are_problems_too(ask: Client, path: str, status: int) -> None:
    """404 and 405 have the same form as our own errors; 405 names what is allowed."""
    answer = await ask("GET", path)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert status != 405 or answer.headers["allow"] == "POST"


async def test_a_rejected_body_is_not_echoed(ask: Client) -> None:
    """422 says where and why for each mistake, and repeats no value, which may be a password."""
    answer = await ask("POST", "/login", json={"password": ["hunter2"], "code": "x"})

    assert answer.status == 422
    assert [error["pointer"] for error in answer.body["errors"]] == [
        "/body/password",
        "/body/code",
    ]
    assert "hunter2" not in answer.text
