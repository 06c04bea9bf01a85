"""The origin's HTTP side: start and stop channels, serve playlists, segments and recordings."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import choose_encoder

from compose.standins.live_origin.channels import (
    MAX_LIVE,
    Channels,
    EncoderError,
    FullError,
    State,
)
from compose.standins.live_origin.clip import make_clip
from compose.standins.live_origin.encoder import PLAYLIST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Whatever does not look so is no address of ours: a name never becomes a path that leads elsewhere.
_NAME = "{name:[a-z0-9][a-z0-9-]{0,62}}"
_SEGMENT = r"{segment:[0-9]{1,20}}"
_RECORDING = "{recording:[0-9a-f]{1,32}}"
_OPEN = frozenset({"/health", "/metrics"})
_BODY_LIMIT_BYTES = 4096  # no request has a body


class LiveOrigin:
    """The handlers, the channels behind them, and what they count."""

    def __init__(self, folder: Path, ffmpeg: str, key: str) -> None:
        """Make the camera's clip (once a folder) and take up the channels in `folder`. Raises `ClipError`."""
        self._key = key.encode()
        self._registry = CollectorRegistry()
        self._served = Counter(
            "live_segments_served_total",
            "Segments that were found and sent.",
            registry=self._registry,
        )
        restarts = Counter(
            "live_encoder_restarts_total",
            "Encoders that were started again after they died.",
            registry=self._registry,
        )
        clip = make_clip(ffmpeg, folder)
        self.channels = Channels(folder, ffmpeg, clip, restarts.inc)
        Gauge("live_channels", "Channels that are live.", registry=self._registry).set_function(
            lambda: self.channels.live
        )

    def app(self) -> web.Application:
        """Return the application; while it runs, so do the encoders."""
        app = web.Application(middlewares=[self._admit], client_max_size=_BODY_LIMIT_BYTES)
        app.router.add_put(f"/channels/{_NAME}", self.start)
        app.router.add_delete(f"/channels/{_NAME}", self.stop)
        app.router.add_get("/channels", self.list)
        app.router.add_get(f"/channels/{_NAME}", self.show)
        app.router.add_get(f"/live/{_NAME}/{PLAYLIST}", self.playlist)
        app.router.add_get(f"/live/{_NAME}/{_SEGMENT}.ts", self.segment)
        app.router.add_get(f"/recordings/{_NAME}/{_RECORDING}.mp4", self.recording)
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.cleanup_ctx.append(self._running)
        return app

    async def start(self, request: web.Request) -> web.Response:
        """Make a channel live: 201 when it was not, 200 when it was, playable in both cases."""
        try:
            channel, started = await self.channels.start(request.match_info["name"])
        except FullError as error:
            return _problem(507, str(error))
        except EncoderError as error:
            return _problem(503, str(error), retry_after_s=1)
        return web.json_response(channel.to_json(), status=201 if started else 200)

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a channel: 200 with its recording, also when it was stopped before."""
        channel = await self.channels.stop(request.match_info["name"])
        return _unknown() if channel is None else web.json_response(channel.to_json())

    async def list(self, _request: web.Request) -> web.Response:
        """Return all channels."""
        return web.json_response({"channels": [channel.to_json() for channel in self.channels]})

    async def show(self, request: web.Request) -> web.Response:
        """Return one channel."""
        channel = self.channels.get(request.match_info["name"])
        return _unknown() if channel is None else web.json_response(channel.to_json())

    async def playlist(self, request: web.Request) -> web.StreamResponse:
        """Return a live channel's playlist; 404 when it is not live, 503 when its encoder is away."""
        channel = self.channels.get(request.match_info["name"])
        if channel is None or channel.state is State.STOPPED:
            return _unknown()
        path = channel.hls / PLAYLIST
        if channel.state is State.FAILED or not path.is_file():
            return _problem(503, "the channel's encoder is away", retry_after_s=1)
        headers = {
            "Content-Type": "application/vnd.apple.mpegurl",
            "Cache-Control": "no-cache",
        }
        return web.FileResponse(path, headers=headers)

    async def segment(self, request: web.Request) -> web.StreamResponse:
        """Return one segment of a channel. Its name is never used again, so it may be cached."""
        channel = self.channels.get(request.match_info["name"])
        if channel is None or channel.state is State.STOPPED:
            return _unknown()
        response = _file(channel.hls / f"{request.match_info['segment']}.ts", "video/mp2t")
        if isinstance(response, web.FileResponse) and request.method == "GET":
            self._served.inc()
        return response

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """Return a recording, or a range of it."""
        channel = self.channels.get(request.match_info["name"])
        if channel is None:
            return _unknown()
        path = channel.recordings / f"{request.match_info['recording']}.mp4"
        return _file(path, "video/mp4")

    async def health(self, _request: web.Request) -> web.Response:
        """Say that the origin serves, and how many channels are live."""
        return web.json_response(
            {"status": "healthy", "live": self.channels.live, "limit": MAX_LIVE}
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Return the metrics in the format that was asked for."""
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(self._registry), headers={"Content-Type": content_type})

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        self.channels.resume()
        yield
        await self.channels.close()

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse who does not have the key, whatever was asked for."""
        if request.path not in _OPEN:
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if not hmac.compare_digest(given, b"Bearer " + self._key):
                return _problem(401, "a valid bearer key is needed")
        return await handler(request)


def _file(path: Path, media_type: str) -> web.StreamResponse:
    """Answer with a file or a range of it; 404 when there is none."""
    if not path.is_file():
        return _problem(404, "there is no such file")
    headers = {"Content-Type": media_type, "Cache-Control": "private, max-age=60, immutable"}
    return web.FileResponse(path, headers=headers)


def _unknown() -> web.Response:
    return _problem(404, "there is no such channel")


def _problem(status: int, error: str, *, retry_after_s: int | None = None) -> web.Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return web.json_response({"error": error}, status=status, headers=headers)
