"""The client of the live origin: what it believes, how long it waits, what it sends along."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from app.core.context import RequestContext, current
from app.core.resilience.breaker import BreakerState
from app.core.resilience.guard import DependencyUnavailableError, Reason
from app.infrastructure.live_origin import (
    BREAKER,
    CALL_TIMEOUT_S,
    MAX_PLAYLIST_BYTES,
    LiveOrigin,
    OriginError,
    check_playlist,
    live_origin_guard,
)
from tests.app.conftest import state_of
from tests.app.infrastructure.test_outgoing import TRACE, recorder
from tests.app.servers import LIVE_KEY, Server, live_origin_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from app.core.config import Settings
    from app.core.metrics import Metrics
    from app.core.resilience.guard import Guard

LATE_S = 0.5
"""What a busy machine may add to a limit."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A live origin of the test's own."""
    with live_origin_server(tmp_path / "live") as server:
        yield server


@asynccontextmanager
async def origin_on(
    address: str, settings: Settings, metrics: Metrics, key: str = LIVE_KEY
) -> AsyncIterator[tuple[LiveOrigin, Guard]]:
    """Build a client of the origin at `address`."""
    guard = live_origin_guard(metrics)
    changes = {"live_origin_url": f"http://{address}", "live_key": SecretStr(key)}
    origin = LiveOrigin(settings.model_copy(update=changes), guard, metrics)
    try:
        yield origin, guard
    finally:
        await origin.close()


@asynccontextmanager
async def answering(head: bytes, piece: bytes, pause_s: float) -> AsyncIterator[str]:
    """Run a server that begins each answer so and then sends `piece` for ever; give its address."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(head)
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def failure(origin: LiveOrigin) -> tuple[Reason, float]:
    """Ask for a playlist, which must fail; return why and after how long."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(DependencyUnavailableError) as failed:
        await origin.playlist("one")
    return failed.value.reason, loop.time() - begun


async def test_a_channel_from_start_to_recording(
    server: Server, settings: Settings, metrics: Metrics
) -> None:
    """Start, playlist, segment, stop and recording are the origin's own; what is not there is None, no trouble."""
    async with origin_on(server.address, settings, metrics) as (origin, guard):
        assert await origin.playlist("one") is None
        assert await origin.stop("one") is None
        await origin.start("one")
        await origin.start("one")
        playlist = await origin.playlist("one")
        assert playlist is not None
        names = [line.decode() for line in playlist.splitlines() if line.endswith(b".ts")]
        segment = await origin.segment("one", names[0])
        assert segment is not None
        assert segment[0] == 0x47
        assert await origin.segment("one", "1.ts") is None
        assert [(each.name, each.stopped) for each in await origin.channels()] == [("one", False)]
        stopped = await origin.stop("one")
        assert stopped is not None
        assert stopped.recording is not None
        async with origin.recording("one", stopped.recording) as pieces:
            media = b"".join([piece async for piece in pieces])
        assert len(media) == stopped.recording.size_bytes
        assert media[4:8] == b"ftyp"
        await origin.ping()
        assert state_of(guard.breaker) is BreakerState.CLOSED


async def test_an_origin_that_hangs_costs_its_limit_and_then_nothing(
    server: Server, settings: Settings, metrics: Metrics
) -> None:
    """Each call ends within its limit, the breaker opens, and from then on the answer comes at once."""
    async with origin_on(server.address, settings, metrics) as (origin, guard):
        await origin.start("one")
        server.stop()
        first = [await failure(origin) for _ in range(BREAKER.minimum_calls)]
        assert first[0][0] is Reason.TIMEOUT
        assert {reason for reason, _ in first} <= {Reason.TIMEOUT, Reason.BREAKER_OPEN}
        assert max(took_s for _, took_s in first) < CALL_TIMEOUT_S + LATE_S
        assert state_of(guard.breaker) is BreakerState.OPEN
        reason, took_s = await failure(origin)
        assert reason is Reason.BREAKER_OPEN
        assert took_s < CALL_TIMEOUT_S / 2
        with pytest.raises(TimeoutError):
            await origin.ping()
        server.resume()


async def test_a_dead_origin_is_refused_and_comes_back(
    server: Server, settings: Settings, metrics: Metrics
) -> None:
    """A killed origin refuses; a new process is used as soon as the breaker has seen it, without a restart of ours."""
    async with origin_on(server.address, settings, metrics) as (origin, guard):
        await origin.start("one")
        server.kill()
        reasons = [(await failure(origin))[0] for _ in range(BREAKER.minimum_calls)]
        assert reasons[0] in {Reason.REFUSED, Reason.RESET}
        assert state_of(guard.breaker) is BreakerState.OPEN
        server.start()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await origin.playlist("one")
                    break
                except DependencyUnavailableError:
                    await asyncio.sleep(0.05)


async def test_a_wrong_key_is_trouble(server: Server, settings: Settings, metrics: Metrics) -> None:
    """An origin that does not know us is unavailable; nobody may think that the channel is not live."""
    async with origin_on(server.address, settings, metrics, "wrong") as (origin, _):
        assert (await failure(origin))[0] is Reason.ERROR


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"#" * MAX_PLAYLIST_BYTES, 0), Reason.ERROR),
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"#", 0.05), Reason.TIMEOUT),
        ((b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", b"", 9), Reason.ERROR),
        ((b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"", 9), Reason.ERROR),
        ((b"nonsense\r\n\r\n", b"", 9), Reason.ERROR),
    ],
    ids=["endless", "dripping", "redirecting", "failing", "not HTTP"],
)
async def test_no_answer_of_the_origin_hurts(
    sent: tuple[bytes, bytes, float], reason: Reason, settings: Settings, metrics: Metrics
) -> None:
    """Answers without an end, by drips, to elsewhere or of no sense end within the limit, as trouble of the origin."""
    async with (
        answering(*sent) as address,
        origin_on(address, settings, metrics) as (origin, _),
    ):
        why, took_s = await failure(origin)

    assert why is reason
    assert took_s < CALL_TIMEOUT_S + LATE_S


@pytest.mark.parametrize(
    "playlist",
    [
        b"",
        b"<html>",
        b"#EXTM3U\nhttp://elsewhere.example/1.ts\n",
        b"#EXTM3U\n//elsewhere.example/1.ts\n",
        b"#EXTM3U\n../two/1.ts\n",
        b"#EXTM3U\n1.ts?x=1\n",
        b"#EXTM3U\n1.mp4\n",
        b"#EXTM3U\n" + b"1" * 21 + b".ts\n",
        b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/passwd"\n1.ts\n',
        b'#EXTM3U\n#EXT-X-MAP:URI="http://elsewhere.example/"\n1.ts\n',
        b"#EXTM3U\n1.ts\r../two/1.ts\n",
    ],
)
def test_a_playlist_leads_nowhere_else(playlist: bytes) -> None:
    """What names anything but the channel's own segments is passed on to nobody."""
    with pytest.raises(OriginError):
        check_playlist(playlist)


async def test_calls_carry_the_ids(server: Server, settings: Settings, metrics: Metrics) -> None:
    """The origin sees the ids of the request for which it is asked, and none for work that is for nobody."""
    with recorder(server.address) as (address, seen):
        async with origin_on(address, settings, metrics) as (origin, _):
            await origin.channels()
            context = RequestContext("a-request", TRACE)
            context.traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
            token = current.set(context)
            await origin.start("one")
            await origin.playlist("one")
            current.reset(token)

    assert seen[0] == {}
    assert [ids["x-request-id"] for ids in seen[1:]] == ["a-request"] * 2
    assert {ids["traceparent"].split("-")[1] for ids in seen[1:]} == {TRACE}
