"""The client against a real Toxiproxy, with an independent client as the second reader, and against bad servers."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from chaos.errors import UsageError
from chaos.toxiproxy.client import (
    CALL_WITHIN_S,
    Toxiproxy,
    ToxiproxyError,
    ToxiproxyTimeoutError,
)
from chaos.toxiproxy.toxics import (
    BandwidthToxic,
    BlackholeToxic,
    LatencyToxic,
    LimitToxic,
    ResetToxic,
    SlowCloseToxic,
    Toxic,
)
from chaos.toxiproxy.undo import restore
from tests.toxiproxy.conftest import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from toxiproxy import Toxiproxy as Reader

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

TOXICS: list[Toxic] = [
    LatencyToxic("late", "downstream", latency_ms=120, jitter_ms=30),
    LatencyToxic("late", "upstream", latency_ms=1),
    BlackholeToxic("hole", "upstream"),
    BlackholeToxic("hole", "downstream"),
    BandwidthToxic("narrow", "downstream", rate_kb_per_s=50),
    ResetToxic("reset", "upstream", after_ms=100),
    LimitToxic("short", "downstream", limit_bytes=1_000),
    SlowCloseToxic("slow", "upstream", delay_ms=500),
]


@pytest.fixture
def reader(toxiproxy: Toxiproxy, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Return toxiproxy-python on the same server."""
    import toxiproxy as other
    from toxiproxy.api import APIConsumer

    monkeypatch.setattr(APIConsumer, "host", toxiproxy.host)
    monkeypatch.setattr(APIConsumer, "port", toxiproxy.port)
    return other.Toxiproxy()


@pytest.mark.parametrize("toxic", TOXICS, ids=lambda toxic: f"{toxic.state.kind}-{toxic.stream}")
def test_another_client_reads_what_this_one_wrote(
    toxiproxy: Toxiproxy, reader: Reader, toxic: Toxic
) -> None:
    """A toxic arrives with name, type, stream, attributes and toxicity 1, and both clients read the same."""
    toxiproxy.add_toxic("route", toxic)
    (ours,) = toxiproxy.proxy("route").toxics
    theirs = reader.get_proxy("route").get_toxic(toxic.name)
    assert ours == toxic.state
    assert (theirs.name, theirs.type, theirs.stream, theirs.attributes, theirs.toxicity) == (
        ours.name,
        ours.kind,
        ours.stream,
        ours.attributes,
        1.0,
    )
    toxiproxy.remove_toxic("route", toxic.name)
    assert reader.get_proxy("route").toxics() == {}


def test_another_client_sees_the_route_close_and_open(toxiproxy: Toxiproxy, reader: Reader) -> None:
    """Closing a route is read back by both, and a connection is refused until it is open again."""
    listen = toxiproxy.proxy("route").listen.rpartition(":")[2]
    for enabled in (False, True):
        assert toxiproxy.set_enabled("route", enabled=enabled).enabled is enabled
        assert reader.get_proxy("route").enabled is enabled
        with socket.socket() as probe:
            probe.settimeout(5.0)
            assert (probe.connect_ex(("127.0.0.1", int(listen))) == 0) is enabled


def test_every_proxy_is_listed_with_its_route(toxiproxy: Toxiproxy) -> None:
    """All proxies are read at once, each clean, with where it listens and leads."""
    proxies = toxiproxy.proxies()
    assert set(proxies) == {"route", "a/b?c"}
    assert all(proxy.clean and proxy.upstream == "127.0.0.1:1" for proxy in proxies.values())


def test_a_taken_name_is_an_error(toxiproxy: Toxiproxy) -> None:
    """A second toxic of the same name is refused in the server's words."""
    toxiproxy.add_toxic("route", TOXICS[0])
    with pytest.raises(ToxiproxyError, match="409"):
        toxiproxy.add_toxic("route", TOXICS[0])


def test_removing_what_is_not_there_is_fine(toxiproxy: Toxiproxy) -> None:
    """An undo may come twice."""
    toxiproxy.remove_toxic("route", "nothing")


def test_an_unknown_proxy_is_an_error(toxiproxy: Toxiproxy) -> None:
    """Reading a proxy that does not exist says so."""
    with pytest.raises(ToxiproxyError, match="404"):
        toxiproxy.proxy("elsewhere")


def test_restore_takes_everything_back(toxiproxy: Toxiproxy) -> None:
    """Toxics go and the route opens, in one limit; doing it again is harmless."""
    toxiproxy.add_toxic("route", TOXICS[0])
    toxiproxy.add_toxic("route", TOXICS[2])
    toxiproxy.set_enabled("route", enabled=False)
    for _ in range(2):
        restore(toxiproxy, "route", ["late", "hole"], within_s=2.0)
        assert toxiproxy.proxy("route").clean


def test_restore_does_not_call_clean_what_is_not(toxiproxy: Toxiproxy) -> None:
    """A toxic that nobody asked to remove is named."""
    toxiproxy.add_toxic("route", TOXICS[0])
    with pytest.raises(ToxiproxyError, match="not clean after the undo: late"):
        restore(toxiproxy, "route", ["hole"], within_s=2.0)


@pytest.mark.parametrize(
    ("latency_ms", "jitter_ms"), [(0, 0), (-1, 0), (10_001, 0), (10, -1), (10, 11)]
)
def test_values_that_the_server_would_misread_cannot_be_built(
    latency_ms: int, jitter_ms: int
) -> None:
    """Toxiproxy takes negative and huge delays without a word; here they are errors."""
    with pytest.raises(UsageError, match="expected"):
        LatencyToxic("late", "downstream", latency_ms, jitter_ms)


@pytest.mark.parametrize(
    "build",
    [
        lambda: BandwidthToxic("x", "downstream", 0),
        lambda: BandwidthToxic("x", "downstream", -1),
        lambda: ResetToxic("x", "downstream", 1_001),
        lambda: ResetToxic("x", "downstream", -1),
        lambda: LimitToxic("x", "downstream", 0),
        lambda: SlowCloseToxic("x", "downstream", 0),
    ],
)
def test_values_that_stall_or_hang_the_server_cannot_be_built(build: Callable[[], Toxic]) -> None:
    """A rate of 0 stalls silently, a long reset blocks the whole API: neither can be expressed."""
    with pytest.raises(UsageError, match="expected"):
        build()


@contextmanager
def server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[Toxiproxy]:
    """Accept one connection and treat it badly; yield a client with the usual limit."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            wire, _ = listener.accept()
            with wire:
                serve(wire, over)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Toxiproxy("127.0.0.1", listener.getsockname()[1])
        finally:
            over.set()
            thread.join(10.0)


def silent(_wire: socket.socket, over: threading.Event) -> None:
    """Answer nothing, as the hanging control API does."""
    over.wait(10.0)


def dripping(wire: socket.socket, over: threading.Event) -> None:
    """Answer a byte at a time, so that no single read is late."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1_000:
        if over.wait(0.02):
            return
        try:
            wire.sendall(bytes([byte]))
        except OSError:
            return


@pytest.mark.parametrize("serve", [silent, dripping])
def test_a_call_ends_at_its_limit(serve: Callable[[socket.socket, threading.Event], None]) -> None:
    """The limit holds for the whole call, and being over it is an error of its own: the state is unknown."""
    with server(serve) as api:
        began = time.monotonic()
        with pytest.raises(ToxiproxyTimeoutError, match="state is unknown"):
            api.remove_toxic("route", "late")
        assert CALL_WITHIN_S <= time.monotonic() - began < CALL_WITHIN_S + 0.2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n<html>busy</html>", "503 <html>busy"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "expected JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "expected a JSON object"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"name": "route"}', "expected a proxy"),
        (b"nonsense\r\n\r\n", "BadStatusLine"),
        (b"", "RemoteDisconnected"),
    ],
)
def test_an_answer_that_is_none_is_an_error(answer: bytes, said: str) -> None:
    """Whatever else listens there, or dies in the middle, is never taken for success."""

    def serve(wire: socket.socket, _over: threading.Event) -> None:
        wire.recv(65_536)
        wire.sendall(answer)

    with server(serve) as api, pytest.raises(ToxiproxyError, match=said):
        api.proxy("route")


def test_nobody_there_is_an_error() -> None:
    """A dead Toxiproxy is told apart from a hanging one."""
    with pytest.raises(ToxiproxyError, match="does this Toxiproxy run") as caught:
        Toxiproxy("127.0.0.1", free_port()).proxies()
    assert not isinstance(caught.value, ToxiproxyTimeoutError)
