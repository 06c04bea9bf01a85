"""The kernel's table of TCP connections: who is connected to an edge, and how many bytes each has moved.

Linux tells it through NETLINK_SOCK_DIAG (what `ss` uses, about a millisecond, no root); where that is closed,
`/proc/net/tcp` has the connections without the bytes. Elsewhere `netstat` does.
Toxiproxy's own byte counters are no help: they move only when a connection closes.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LINUX: Final = sys.platform == "linux"
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_DONE = 3
_NLMSG_ERROR = 2
_NLM_F_REQUEST_DUMP = 0x301
_INET_DIAG_INFO = 2
_TCP_ESTABLISHED = 1
# struct inet_diag_msg: family, state, timer, retrans; ports in network order; addresses, interface, cookie;
# expires, rqueue, wqueue, uid, inode.
_MESSAGE = struct.Struct("=BBBB2s2s16s16sI8sIIIII")
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# struct tcp_info only ever grows at its end: bytes_received since Linux 4.1, bytes_sent since 4.19.
_COUNTER = struct.Struct("=Q")
_BYTES_RECEIVED_AT = 128
_BYTES_SENT_AT = 200
_READ_WITHIN_S = 1.0
_NETSTAT_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Connection:
    """One end of an established TCP connection; bytes are None where the kernel does not tell.

    `inode` is 0 where it is unknown.
    """

    local_port: int
    remote_port: int
    sent: int | None = None
    received: int | None = None
    inode: int = 0


def established() -> list[Connection] | None:
    """Return this machine's established IPv4 connections, or None where they cannot be seen."""
    if _LINUX:
        try:
            return _ask_kernel()
        except (OSError, struct.error):
            return _read_proc()
    return _ask_netstat()


def inodes_of(pid: int) -> frozenset[int]:
    """Return the socket inodes that a process holds; empty where that cannot be seen."""
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
            except OSError:
                continue  # closed since it was listed
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except OSError:
        return frozenset()
    return frozenset(found)


def _ask_kernel() -> list[Connection]:
    request = struct.pack(
        "=BBBBI48x",
        *(socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, 1 << _TCP_ESTABLISHED),
    )
    size = _HEADER.size + len(request)
    head = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
    found: list[Connection] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_READ_WITHIN_S)
        kernel.send(head + request)
        while True:
            data = kernel.recv(1 << 18)
            at = 0
            while at < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    raise OSError("the kernel refused to list its sockets")
                found.append(_connection(data[at + _HEADER.size : at + length]))
                at += _aligned(length)


def _connection(message: bytes) -> Connection:
    fields = _MESSAGE.unpack_from(message)
    sent = received = None
    at = _MESSAGE.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        value = message[at + _ATTRIBUTE.size : at + length]
        if kind == _INET_DIAG_INFO and len(value) >= _BYTES_SENT_AT + _COUNTER.size:
            (received,) = _COUNTER.unpack_from(value, _BYTES_RECEIVED_AT)
            (sent,) = _COUNTER.unpack_from(value, _BYTES_SENT_AT)
        at += _aligned(length)
    local, remote = int.from_bytes(fields[4]), int.from_bytes(fields[5])
    return Connection(local, remote, sent, received, fields[-1])


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _read_proc() -> list[Connection] | None:
    try:
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    found = []
    for row in rows:
        _, local, remote, state, *rest = row.split()
        if int(state, 16) == _TCP_ESTABLISHED:
            here, there = (int(end.rpartition(":")[2], 16) for end in (local, remote))
            found.append(Connection(here, there, inode=int(rest[5])))
    return found


def _ask_netstat() -> list[Connection] | None:
    try:
        answer = subprocess.run(
            ["/usr/sbin/netstat", "-anp", "tcp"],
            capture_output=True,
            text=True,
            timeout=_READ_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_netstat(answer.stdout)


def parse_netstat(text: str) -> list[Connection]:
    """Return the established IPv4 connections of BSD's `netstat -anp tcp` (address and port joined by a dot)."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < _NETSTAT_COLUMNS or words[0] not in {"tcp4", "tcp46"}:
            continue
        if words[5] == "ESTABLISHED":
            local, remote = (end.rpartition(".")[2] for end in words[3:5])
            found.append(Connection(int(local), int(remote)))
    return found
