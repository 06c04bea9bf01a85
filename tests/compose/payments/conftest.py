"""The living provider, the SDK on it, and stripe-mock, which must accept all that the SDK sent."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.compose.payments.provider import Mock, Provider, Receiver, Recorder, raw, until
from tests.compose.promtool import ROOT
from tests.compose.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import stripe


@pytest.fixture(scope="session")
def mock() -> Iterator[Mock]:
    """The real stripe-mock."""
    port, other = free_port(), free_port()
    process = subprocess.Popen(
        [
            str(ROOT / ".tools" / "stripe-mock"),
            *("-http-addr", f"127.0.0.1:{port}"),
            # It serves HTTPS too, on every address unless it is told otherwise.
            *("-https-addr", f"127.0.0.1:{other}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def serves() -> bool:
        assert process.poll() is None, "stripe-mock ended at once"
        with contextlib.suppress(OSError):
            raw(port, "GET", "/")
            return True
        return False

    try:
        until(serves)
        yield Mock(port)
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A backend's webhook endpoint."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def provider(tmp_path: Path, receiver: Receiver) -> Iterator[Provider]:
    """A living provider without any state, whose webhooks go to the receiver."""
    provider = Provider(tmp_path / "payments", receiver.url)
    try:
        provider.start()
        yield provider
    finally:
        provider.kill()


@pytest.fixture
def recorder(mock: Mock) -> Iterator[Recorder]:
    """The SDK's HTTP client. Every request of it, stripe-mock must accept."""
    recorder = Recorder()
    yield recorder
    recorder.close()  # type: ignore[no-untyped-call] # the SDK's
    assert mock.refused(recorder.sent) == []


@pytest.fixture
def client(provider: Provider, recorder: Recorder) -> stripe.StripeClient:
    """The SDK as the backend has it."""
    return provider.client(recorder)
