"""The live origin: where channels are encoded and their playlists, segments and recordings come from.

Everything that comes from there is bounded, in time and in bytes, and a playlist is looked at before it is believed:
what is passed on names segments of its own channel and nothing else.
"""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import (
    ClientConnectionResetError,
    ClientError,
    ClientPayloadError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)

from app.core.outgoing import outgoing_headers
from app.core.resilience.breaker import BreakerConfig
from app.core.resilience.bulkhead import Bulkhead
from app.core.resilience.guard import Guard, Reason, build_guard, causes, classify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import ClientResponse

    from app.core.config import Settings
    from app.core.metrics import Metrics

DEPENDENCY = "live-origin"

CONNECT_TIMEOUT_S = 0.25
# A viewer's player asks again within a second, so an answer that takes longer is of no use.
CALL_TIMEOUT_S = 0.5
# Starting waits for the first segment, stopping for the last one and for the recording to be written.
CONTROL_ALLOWANCE_S = 2.5
RECORDING_IDLE_S = 1.0
RECORDING_TIMEOUT_S = 30.0
MAX_CONCURRENT = 32
MAX_WAITING = 64
MAX_CONTROL = 4
MAX_PLAYLIST_BYTES = 64 * 1024
MAX_SEGMENT_BYTES = 4 * 1024 * 1024
MAX_ANSWER_BYTES = 256 * 1024
MAX_RECORDING_BYTES = 128 * 1024 * 1024
CHUNK_BYTES = 64 * 1024

# Playlists and segments are cached and shared, so calls are few: a small window, or a hang would last many of them.
BREAKER = BreakerConfig(
    window=10,
    minimum_calls=5,
    failure_rate=0.5,
    slow_call_s=0.4,
    slow_call_rate=0.8,
    open_s=1.0,
    half_open_calls=2,
)

_SEGMENT = re.compile(rb"[0-9]{1,20}\.ts")
_RECORDING_ID = re.compile(r"[0-9a-f]{1,32}")


class OriginError(Exception):
    """The origin answered as no well origin does."""


class OriginFullError(Exception):
    """The origin is well and has no room for one more live channel."""


class EncoderAwayError(Exception):
    """The origin is well; this channel's encoder is not."""


@dataclass(frozen=True, slots=True)
class OriginRecording:
    """What the origin kept of a channel when it was stopped."""

    id: str
    duration_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OriginChannel:
    """A channel as the origin has it."""

    name: str
    stopped: bool
    recording: OriginRecording | None


def classify_live(error: Exception) -> Reason | None:
    """Name why the origin failed; None for an answer that is about the request."""
    for link in causes(error):
        if isinstance(link, OriginFullError | EncoderAwayError):
            return None
        if isinstance(link, OriginError):
            return Reason.ERROR
        if isinstance(
            link, ServerDisconnectedError | ClientPayloadError | ClientConnectionResetError
        ):
            return Reason.RESET
    reason = classify(error)
    if reason is None and isinstance(error, ClientError):
        return Reason.ERROR
    return reason


def live_origin_guard(metrics: Metrics) -> Guard:
    """Build the guard of the origin."""
    return build_guard(
        DEPENDENCY,
        timeout_s=CALL_TIMEOUT_S,
        breaker=BREAKER,
        max_concurrent=MAX_CONCURRENT,
        max_waiting=MAX_WAITING,
        max_wait_s=0.1,
        classify=classify_live,
        gauge=metrics,
    )


class LiveOrigin:
    """Channels by name. Build it inside the event loop; fallbacks and caches are the live service's."""

    def __init__(self, settings: Settings, guard: Guard, metrics: Metrics) -> None:
        self._url = settings.live_origin_url.rstrip("/")
        self._key = settings.live_key.get_secret_value()
        self._guard = guard
        # Starts, stops and recordings take long: they must not hold the places of viewers.
        places = Bulkhead(f"{DEPENDENCY}-control", MAX_CONTROL, MAX_CONTROL, max_wait_s=1.0)
        self._control = guard.beside(places)
        metrics.watch_bulkhead(
            places.name, in_flight=lambda: places.in_flight, waiting=lambda: places.waiting
        )
        self._session = _session(MAX_CONCURRENT + MAX_CONTROL)
        self._ping_session = _session(1)

    async def playlist(self, name: str) -> bytes | None:
        """Return a live channel's playlist, None when it is not live.

        Raises EncoderAwayError, DependencyUnavailableError.
        """
        return await self._guard.call(partial(self._playlist, name), probe_beside=True)

    async def segment(self, name: str, file: str) -> bytes | None:
        """Return a segment of a live channel, None when there is none. Raises DependencyUnavailableError."""
        path = f"/live/{name}/{file}"
        return await self._guard.call(
            partial(self._get, path, MAX_SEGMENT_BYTES), probe_beside=True
        )

    async def start(self, name: str) -> None:
        """Make a channel live, if it is not. Raises OriginFullError, DependencyUnavailableError."""

        async def start() -> None:
            async with self._ask("PUT", f"/channels/{name}") as answer:
                if answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
                    raise OriginFullError
                if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    raise EncoderAwayError
                _expect(answer, HTTPStatus.OK, HTTPStatus.CREATED)

        await self._change(start)

    async def stop(self, name: str) -> OriginChannel | None:
        """Stop a channel, if it is live; None when the origin knows none. Raises DependencyUnavailableError."""
        stopped: list[OriginChannel] = []

        async def stop() -> None:
            async with self._ask("DELETE", f"/channels/{name}") as answer:
                if answer.status != HTTPStatus.NOT_FOUND:
                    _expect(answer, HTTPStatus.OK)
                    stopped.append(_channel(await _read_json(answer)))

        await self._change(stop)
        return stopped[0] if stopped else None

    async def channels(self) -> list[OriginChannel]:
        """Return all channels that the origin knows. Raises DependencyUnavailableError."""

        async def ask() -> list[OriginChannel]:
            async with self._ask("GET", "/channels") as answer:
                _expect(answer, HTTPStatus.OK)
                found = await _read_json(answer)
            try:
                return [_channel(each) for each in found["channels"]]
            except (KeyError, TypeError) as error:
                raise OriginError("a list of channels of another form") from error

        return await self._control.call(ask, probe_beside=True)

    @asynccontextmanager
    async def recording(
        self, name: str, recording: OriginRecording
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the bytes of a recording, piece by piece.

        The guard covers the beginning of the answer, limits of their own cover the rest. Raises OriginError,
        DependencyUnavailableError, and within the pieces also ClientError and TimeoutError.
        """
        path = f"/recordings/{name}/{recording.id}.mp4"
        limits = ClientTimeout(
            total=RECORDING_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=RECORDING_IDLE_S
        )

        async def begin() -> ClientResponse:
            answer = await self._session.get(
                self._url + path,
                headers=self._headers(),
                timeout=limits,
                allow_redirects=False,
            )
            try:
                _expect(answer, HTTPStatus.OK)
            except BaseException:
                answer.close()
                raise
            return answer

        answer = await self._control.call(begin)
        try:
            yield _pieces(answer)
        finally:
            answer.close()

    async def ping(self) -> None:
        """Ask for a sign of life on a connection of its own, outside the guard; raise what went wrong."""
        async with self._ping_session.get(f"{self._url}/health", allow_redirects=False) as answer:
            _expect(answer, HTTPStatus.OK)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._ping_session.close()

    async def _playlist(self, name: str) -> bytes | None:
        found = await self._get(f"/live/{name}/index.m3u8", MAX_PLAYLIST_BYTES)
        if found is not None:
            check_playlist(found)
        return found

    async def _get(self, path: str, max_bytes: int) -> bytes | None:
        async with self._ask("GET", path) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise EncoderAwayError
            _expect(answer, HTTPStatus.OK)
            return await _read(answer, max_bytes)

    async def _change(self, change: Callable[[], Awaitable[None]]) -> None:
        """Start or stop, with the time that this takes; while the origin is ill its health is asked for instead."""
        await self._control.call(change, probe=self.ping, allowance_s=CONTROL_ALLOWANCE_S)

    def _ask(self, method: str, path: str) -> AbstractAsyncContextManager[ClientResponse]:
        limit_s = CALL_TIMEOUT_S + (CONTROL_ALLOWANCE_S if method != "GET" else 0)
        return self._session.request(
            method,
            self._url + path,
            headers=self._headers(),
            timeout=ClientTimeout(total=limit_s, sock_connect=CONNECT_TIMEOUT_S),
            allow_redirects=False,
        )

    def _headers(self) -> dict[str, str]:
        return {**outgoing_headers(), "Authorization": f"Bearer {self._key}"}


def check_playlist(playlist: bytes) -> None:
    """Raise OriginError unless it is a playlist that names segments of its own channel and nothing else."""
    lines = playlist.splitlines()
    if not lines or lines[0] != b"#EXTM3U":
        raise OriginError("no playlist")
    for line in lines:
        named = bool(line) and not line.startswith(b"#")
        if (named and not _SEGMENT.fullmatch(line)) or b"URI=" in line:
            raise OriginError("a playlist that leads elsewhere")


def _session(connections: int) -> ClientSession:
    return ClientSession(
        connector=TCPConnector(limit=connections, keepalive_timeout=15),
        timeout=ClientTimeout(total=CALL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
    )


def _expect(answer: ClientResponse, *statuses: HTTPStatus) -> None:
    if answer.status not in statuses:
        raise OriginError(f"status {answer.status}")


async def _read(answer: ClientResponse, max_bytes: int) -> bytes:
    """Read the body within a bound, whatever Content-Length said."""
    data = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        data += chunk
        if len(data) > max_bytes:
            raise OriginError(f"an answer of more than {max_bytes} bytes")
    return bytes(data)


async def _read_json(answer: ClientResponse) -> Any:  # noqa: ANN401 - JSON may be anything
    try:
        return orjson.loads(await _read(answer, MAX_ANSWER_BYTES))
    except orjson.JSONDecodeError as error:
        raise OriginError("no JSON") from error


async def _pieces(answer: ClientResponse) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > MAX_RECORDING_BYTES:
            raise OriginError(f"a recording of more than {MAX_RECORDING_BYTES} bytes")
        yield chunk


def _channel(found: Any) -> OriginChannel:  # noqa: ANN401 - what came, before it is checked
    try:
        recording = found["recording"]
        kept = None
        if recording is not None:
            kept = OriginRecording(
                str(recording["id"]), float(recording["duration_s"]), int(recording["size_bytes"])
            )
            if not _RECORDING_ID.fullmatch(kept.id):
                raise OriginError("a recording of another form")
        return OriginChannel(str(found["name"]), found["state"] == "stopped", kept)
    except (KeyError, TypeError, ValueError) as error:
        raise OriginError("a channel of another form") from error
