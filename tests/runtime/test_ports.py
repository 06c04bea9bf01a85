"""Blocks of ports."""

from __future__ import annotations

import socket

import pytest

from chaos.errors import UsageError
from chaos.runtime import ports


@pytest.mark.parametrize("base", [0, 19_900, 20_050, 30_000, 65_500])
def test_a_base_that_is_no_block_is_refused(base: int) -> None:
    """Only the hundreds below the ephemeral range are blocks."""
    with pytest.raises(
        UsageError, match=f"port base {base} is no block; expected a multiple of 100"
    ):
        ports.claim(base)


def test_a_claimed_block_is_passed_over_and_can_be_had_after_its_release() -> None:
    """Two claims never share a block; a released one is free at once."""
    first = ports.claim()
    second = ports.claim()
    try:
        assert first.base != second.base
    finally:
        first.release()
        second.release()
    again = ports.claim(first.base)
    assert again.base == first.base
    again.release()


def test_a_listener_makes_its_port_busy_until_it_closes() -> None:
    """Only what listens counts, not the connections that linger after it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports.busy([port]) == (port,)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            server.accept()[0].close()
    assert ports.busy([port]) == ()


def test_more_ports_than_a_block_has_are_refused() -> None:
    """A topology that does not fit is said before anything starts."""
    block = ports.claim()
    try:
        assert block.port(99) == block.base + 99
        with pytest.raises(UsageError, match="101 ports are needed; a block has 100"):
            block.port(100)
    finally:
        block.release()
