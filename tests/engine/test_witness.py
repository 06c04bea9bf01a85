"""What counts as a witness: the numbers of a socket table, judged for and against a fault."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from chaos.engine.injectors import sockets
from chaos.engine.injectors.judge import HELD_BACK_LOOKS, Judge
from chaos.engine.injectors.probe import Probe
from chaos.engine.injectors.sockets import Connection, inodes_of, parse_netstat
from chaos.engine.injectors.traffic import Snapshot, Tally
from chaos.model.faults import (
    Bandwidth,
    Blackhole,
    Fault,
    Latency,
    LimitBytes,
    Refuse,
    Reset,
)

CLIENT, SERVER, EDGE = 50_001, 50_002, 6_379
QUICK = Probe("answered", 1.0)
NETSTAT = """Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp4       0      0  127.0.0.1.6379         127.0.0.1.50001        ESTABLISHED
tcp4       0      0  127.0.0.1.50001        127.0.0.1.6379         ESTABLISHED
tcp4       0      0  127.0.0.1.6379         127.0.0.1.50003        CLOSE_WAIT
tcp4       0      0  127.0.0.1.6379         *.*                    LISTEN
tcp6       0      0  ::1.6379               ::1.50004              ESTABLISHED
"""


def edge(*moved: tuple[int, int], upstream: tuple[int, int] = (0, 0)) -> Snapshot:
    """Return an edge with clients of (received, sent) bytes, and one connection to the upstream."""
    clients = {
        CLIENT + n: Connection(EDGE, CLIENT + n, sent=sent, received=received)
        for n, (received, sent) in enumerate(moved)
    }
    sent, received = upstream
    upstreams = {SERVER: Connection(SERVER, EDGE, sent=sent, received=received)}
    return Snapshot(clients, upstreams if clients else {})


def tally(before: Snapshot | None, *looks: Snapshot) -> Tally:
    """Return what looks add up to."""
    total = Tally(before)
    for look in looks:
        total.add(look)
    return total


def why(fault: Fault, before: Snapshot | None, *looks: Snapshot, first: Probe = QUICK) -> str:
    """Return why these looks are no witness."""
    return Judge(fault, before, first).why_untouched(tally(before, *looks))


def test_a_refusal_needs_clients_that_lost_their_connections() -> None:
    """Clients before and none now touch; none before, or some still there, do not."""
    fault = Refuse("redis-cache")
    assert why(fault, edge((9, 9)), edge()) == ""
    assert "no client was connected" in why(fault, edge(), edge())
    assert "1 clients are still connected" in why(fault, edge((9, 9)), edge((9, 9)))


def test_a_black_hole_needs_a_request_without_an_answer() -> None:
    """Bytes in and none out on one connection touch; silence and answered requests do not."""
    fault = Blackhole("redis-cache")
    assert why(fault, edge((9, 9)), edge((9, 9)), edge((20, 9))) == ""
    assert "sent nothing" in why(fault, edge((9, 9)), edge((9, 9)), edge((9, 9)))
    assert "was answered" in why(fault, edge((9, 9)), edge((9, 9)), edge((20, 20)))
    assert "no client" in why(fault, edge((9, 9)), edge())


def test_a_connection_opened_inside_the_fault_counts_whole() -> None:
    """A client that reconnects into the black hole has met it with all that it sent."""
    total = tally(edge((9, 9)), edge((9, 9)), edge((9, 9), (14, 0)))
    assert (total.from_clients, total.unanswered, total.clients_max) == (14, 1, 2)


def test_a_closed_connection_keeps_what_it_moved() -> None:
    """Bytes do not vanish from the sum with the connection that moved them."""
    total = tally(None, edge((9, 9)), edge((30, 9)), edge())
    assert (total.from_clients, total.clients_now) == (21, 0)


def test_a_delay_of_an_unknown_protocol_needs_bytes_held_back() -> None:
    """Where nothing can be asked, bytes must be in the edge at several looks in a row."""
    fault, first = Latency("echo"), Probe("connected", 50.0)
    before = edge((100, 100), upstream=(100, 100))
    late = [edge((200 + n, 100), upstream=(200 + n, 150)) for n in range(HELD_BACK_LOOKS)]
    prompt = [edge((200 + n, 200 + n), upstream=(200 + n, 200 + n)) for n in range(4)]
    assert why(fault, before, *late, first=first) == ""
    assert "do not lag" in why(fault, before, *prompt, first=first)
    assert "do not lag" in why(fault, before, late[0], prompt[0], late[1], prompt[1], first=first)


@pytest.mark.parametrize("fault", [Reset("s3"), LimitBytes("s3", limit_bytes=100)])
def test_a_reset_needs_a_connection_that_moved_bytes_and_ended(fault: Fault) -> None:
    """A connection that lives on, or ended without a byte inside the fault, is no witness."""
    assert why(fault, edge((9, 9)), edge((9, 9)), edge((50, 9)), edge()) == ""
    assert "no client's connection ended" in why(fault, edge((9, 9)), edge((50, 50)))
    assert "nothing had moved" in why(fault, edge((9, 9)), edge((9, 9)), edge())


def test_a_narrow_edge_needs_bytes_that_wait_in_it() -> None:
    """Traffic below the limit passes untouched, so only bytes held back in a row of looks are a witness."""
    fault = Bandwidth("s3", rate_kb_per_s=10)
    before = edge((0, 0))
    held = [edge((n, 10), upstream=(n, 900)) for n in range(1, HELD_BACK_LOOKS + 3)]
    passed = [edge((n, n), upstream=(n, n)) for n in range(1, HELD_BACK_LOOKS + 3)]
    assert why(fault, before, *held) == ""
    assert "fewer than the limit" in why(fault, before, *passed)


def test_a_machine_that_shows_nothing_proves_nothing() -> None:
    """Without a socket table there is no witness, however the probe was treated."""
    assert "does not show its connections" in why(Refuse("redis-cache"), None)


def test_without_byte_counts_connections_and_the_probe_must_do() -> None:
    """A kernel that lists connections without bytes can witness, but not a delay that nothing can be asked through."""
    plain = Snapshot({CLIENT: Connection(EDGE, CLIENT)}, {})
    assert why(Latency("redis-cache"), plain, plain) == ""
    reason = why(Latency("echo"), plain, plain, first=Probe("connected", 50.0))
    assert "does not tell bytes" in reason


@pytest.mark.parametrize(
    ("fault", "now", "alike"),
    [
        (Refuse("s3"), Probe("refused", 0.1), True),
        (Refuse("s3"), Probe("closed", 0.1), False),
        (Blackhole("s3"), Probe("silent", 300.0), True),
        (Blackhole("s3"), Probe("answered", 1.0), False),
        (Blackhole("s3"), Probe("refused", 1.0), False),
        (Latency("s3", delay_ms=200), Probe("answered", 201.0), True),
        (Latency("s3", delay_ms=200), Probe("answered", 60.0), False),
        (Latency("s3", delay_ms=200, jitter_ms=100), Probe("answered", 110.0), True),
        (Latency("s3", delay_ms=200), Probe("refused", 0.1), False),
        (Reset("s3"), Probe("closed", 1.0), True),
        (Reset("s3"), Probe("answered", 1.0), False),
        (LimitBytes("s3"), Probe("answered", 1.0), True),
        (Bandwidth("s3"), Probe("refused", 1.0), False),
    ],
)
def test_a_probe_must_be_treated_as_the_fault_says(fault: Fault, now: Probe, alike: bool) -> None:  # noqa: FBT001 (a column of the table)
    """Each fault has its own mark on a fresh connection."""
    assert (Judge(fault, edge(), QUICK).why_unlike(now) == "") is alike


linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere netstat lists connections, without bytes"
)


@linux_only
def test_the_kernel_counts_the_bytes_of_a_connection() -> None:
    """Both ends of a real connection are listed, with what each sent and received, and whose they are."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        server, _ = listener.accept()
        with client, server:
            client.sendall(b"x" * 700)
            assert len(server.recv(700, socket.MSG_WAITALL)) == 700
            server.sendall(b"y" * 30)
            assert len(client.recv(30, socket.MSG_WAITALL)) == 30
            table = sockets.established()
            assert table is not None
            (ours,) = (c for c in table if c.local_port == port)
            (theirs,) = (c for c in table if c.remote_port == port)
            assert (ours.received, ours.sent) == (theirs.sent, theirs.received) == (700, 30)
            assert {ours.inode, theirs.inode} <= inodes_of(os.getpid())


@linux_only
def test_the_table_without_bytes_shows_the_same_connections() -> None:
    """Where netlink is closed, /proc/net/tcp lists the same ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5.0):
            server, _ = listener.accept()
            with server:
                plain = sockets._read_proc()
                full = sockets._ask_kernel()
    assert plain is not None
    ends = [{(c.local_port, c.remote_port, c.inode) for c in t} for t in (plain, full)]
    mine = [{end for end in side if port in end[:2]} for side in ends]
    assert mine[0] == mine[1]
    assert len(mine[0]) == 2


def test_netstat_of_a_mac_is_read() -> None:
    """Its established IPv4 connections are listed, with ports after the last dot and no bytes."""
    assert parse_netstat(NETSTAT) == [Connection(6379, 50001), Connection(50001, 6379)]
