"""The routes of the inference server: the Open Inference Protocol, version 2, and the model repository extension.

A version may be named in the path (`/versions/V`); one is served at a time, and another is not found. Errors are the
protocol's object `{"error": text}`, with the key `reason`, of a closed set, beside it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING

import orjson
import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.api.middleware.correlation import correlate
from app.core.context import current
from app.ml_pipelines.artefact import NAME, ArtefactError
from app.ml_pipelines.protocol import (
    EXTENSIONS,
    INPUTS,
    MAX_BODY_BYTES,
    OUTPUTS,
    PLATFORM,
    SERVER_NAME,
    SERVER_VERSION,
    Reason,
    RequestError,
    infer_response,
    no_parameters,
    read_infer,
    read_object,
)
from app.ml_pipelines.serving import STATUS_CODES, ServerMetrics, Serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = tuple[int, object]
    Handler = Callable[[Request], Awaitable[Answer]]

# A caller who has not sent the whole body by then is not waited for.
BODY_TIMEOUT_S = 2.0
CLIENT_CLOSED_REQUEST = 499

log = structlog.get_logger(component="ml-server")


class InferenceServer:
    """The routes. Each handler returns status and body; `_answer` makes a response of it, counts and logs."""

    def __init__(self, serving: Serving, metrics: ServerMetrics) -> None:
        self._serving = serving
        self._metrics = metrics

    def app(self) -> Starlette:
        """Return the application; it loads the deployed model when it starts."""
        model = "/v2/models/{name}"
        repository = "/v2/repository/models/{name}"
        handlers: list[tuple[str, str, str, Handler]] = [
            ("GET", "/v2", "server_metadata", self.server_metadata),
            ("GET", "/v2/", "server_metadata", self.server_metadata),
            ("GET", "/v2/health/live", "server_live", self.live),
            ("GET", "/v2/health/ready", "server_ready", self.ready),
            ("POST", "/v2/repository/index", "repository_index", self.index),
            ("POST", f"{repository}/load", "repository_load", self.load),
            ("POST", f"{repository}/unload", "repository_unload", self.unload),
        ]
        for prefix in (model, f"{model}/versions/{{version}}"):
            handlers += [
                ("GET", prefix, "model_metadata", self.model_metadata),
                ("GET", f"{prefix}/ready", "model_ready", self.model_ready),
                ("POST", f"{prefix}/infer", "model_infer", self.infer),
            ]
        return Starlette(
            routes=[
                Route(path, partial(self._answer, name, handler), methods=[method])
                for method, path, name, handler in handlers
            ],
            exception_handlers={
                HTTPStatus.NOT_FOUND: partial(self._answer, "unmatched", _not_found),
                HTTPStatus.METHOD_NOT_ALLOWED: partial(self._answer, "unmatched", _not_allowed),
            },
            lifespan=self._lifespan,
        )

    async def server_metadata(self, _request: Request) -> Answer:
        """Describe the server."""
        return HTTPStatus.OK, {
            "name": SERVER_NAME,
            "version": SERVER_VERSION,
            "extensions": EXTENSIONS,
        }

    async def live(self, _request: Request) -> Answer:
        """Say that the server answers."""
        return HTTPStatus.OK, {"live": True}

    async def ready(self, _request: Request) -> Answer:
        """Say whether the model can be asked. The protocol calls the key `live` here, Triton and KServe `ready`."""
        is_ready = self._serving.model is not None
        return _ready_status(is_ready=is_ready), {"live": True, "ready": is_ready}

    async def model_metadata(self, request: Request) -> Answer:
        """Describe the model's tensors."""
        model = self._serving.served(_named(request))
        return HTTPStatus.OK, {
            "name": NAME,
            "versions": [model.version],
            "platform": PLATFORM,
            "inputs": INPUTS,
            "outputs": OUTPUTS,
            "parameters": {
                "created_at": model.created_at.isoformat(),
                "items": len(model.items),
                **model.figures,
            },
        }

    async def model_ready(self, request: Request) -> Answer:
        """Say whether the model, or one version of it, can be asked."""
        version = _named(request)
        model = self._serving.model
        is_ready = model is not None and version in {None, model.version}
        return _ready_status(is_ready=is_ready), {"name": NAME, "ready": is_ready}

    async def infer(self, request: Request) -> Answer:
        """Predict."""
        version = _named(request)
        if "inference-header-content-length" in request.headers:
            raise RequestError(Reason.BAD_REQUEST, "binary tensors are not spoken here; send JSON")
        asked = read_infer(await _body(request))
        model, prediction = await self._serving.predict(asked, version)
        return HTTPStatus.OK, infer_response(model, asked, prediction)

    async def index(self, request: Request) -> Answer:
        """List the models that there are: one."""
        content = read_object(await _body(request), frozenset({"ready"}))
        only_ready = content.get("ready", False)
        if not isinstance(only_ready, bool):
            raise RequestError(Reason.BAD_REQUEST, "ready must be true or false")
        serving = self._serving
        if only_ready and serving.model is None:
            return HTTPStatus.OK, []
        version = {} if serving.model is None else {"version": serving.model.version}
        return HTTPStatus.OK, [
            {"name": NAME, **version, "state": serving.state, "reason": serving.reason}
        ]

    async def load(self, request: Request) -> Answer:
        """Load what is deployed."""
        _named(request)
        no_parameters(read_object(await _body(request), frozenset({"parameters"})))
        try:
            # Not to be left half done because the caller went away.
            model = await asyncio.shield(self._serving.load())
        except ArtefactError as error:
            raise RequestError(Reason.REFUSED, f"{error.fault}: {error}") from None
        return HTTPStatus.OK, {"name": NAME, "version": model.version, "state": self._serving.state}

    async def unload(self, request: Request) -> Answer:
        """Let go of the model."""
        _named(request)
        no_parameters(read_object(await _body(request), frozenset({"parameters"})))
        await self._serving.unload()
        return HTTPStatus.OK, {"name": NAME, "state": self._serving.state}

    async def _answer(
        self, route: str, handler: Handler, request: Request, _error: Exception | None = None
    ) -> Response:
        began = perf_counter()
        headers = request.scope["headers"]
        context = correlate(headers, dict(headers))
        token = current.set(context)
        status, body = CLIENT_CLOSED_REQUEST, b""
        answer_headers = {"X-Request-ID": context.correlation_id}
        try:
            status, content = await _guarded(handler, request)
            body = orjson.dumps(content)
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                answer_headers["Retry-After"] = "1"
            return Response(body, status, answer_headers, "application/json")
        finally:
            seconds = perf_counter() - began
            self._metrics.requests.labels(route, status if status in STATUS_CODES else 500).inc()
            self._metrics.latency.labels(route).observe(seconds)
            level = "info" if route == "model_infer" else "debug"
            getattr(log, level)(
                "ml_server_request",
                route=route,
                status_code=int(status),
                duration_ms=round(seconds * 1000, 3),
            )
            current.reset(token)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        with suppress(ArtefactError):  # logged; the server says that it is not ready
            await self._serving.load()
        try:
            yield
        finally:
            self._serving.close()


async def _guarded(handler: Handler, request: Request) -> Answer:
    """Return the handler's answer, or the protocol's error object."""
    try:
        return await handler(request)
    except RequestError as error:
        return error.status, {"error": str(error), "reason": error.reason}
    except ClientDisconnect:
        return CLIENT_CLOSED_REQUEST, {"error": "gone", "reason": Reason.CLIENT_GONE}
    except Exception as error:
        log.exception("prediction_failed", error_type=type(error).__name__)
        return HTTPStatus.INTERNAL_SERVER_ERROR, {
            "error": "the server failed",
            "reason": Reason.INTERNAL,
        }


async def _body(request: Request) -> bytes:
    """Return the body, which must come whole, in time and within its limit. Raises RequestError."""
    too_large = RequestError(
        Reason.TOO_LARGE,
        f"a body has at most {MAX_BODY_BYTES} bytes",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise RequestError(
            Reason.BAD_REQUEST, f"the body did not come within {BODY_TIMEOUT_S} s"
        ) from None
    return bytes(body)


def _named(request: Request) -> str | None:
    """Return the version that is named, if any. Raises RequestError for another model than there is."""
    if request.path_params["name"] != NAME:
        raise RequestError(
            Reason.NOT_FOUND, f"there is no such model; {NAME} is", HTTPStatus.NOT_FOUND
        )
    version: str | None = request.path_params.get("version")
    return version


def _ready_status(*, is_ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE


async def _not_found(_request: Request) -> Answer:
    return HTTPStatus.NOT_FOUND, {"error": "there is no such path", "reason": Reason.NOT_FOUND}


async def _not_allowed(_request: Request) -> Answer:
    return HTTPStatus.METHOD_NOT_ALLOWED, {
        "error": "the path takes another method",
        "reason": Reason.METHOD,
    }
