"""Blocks of loopback ports, one block a stack, each held by a lock file that dies with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.errors import UsageError
from chaos.runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable

# Below the ephemeral range (Linux starts at 32768), so that no outgoing connection takes one of these.
FIRST_BASE: Final = 20_000
LAST_BASE: Final = 29_900
BLOCK_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class PortBlock:
    """The ports `base` to `base + 99`; ours until `release`, or until this process ends."""

    base: int
    _lock: int

    def port(self, index: int) -> int:
        """Return the port at an index below `BLOCK_SIZE`."""
        if not 0 <= index < BLOCK_SIZE:
            raise UsageError(
                f"{index + 1} ports are needed; a block has {BLOCK_SIZE}: cut the topology"
            )
        return self.base + index

    def release(self) -> None:
        """Let others have the block."""
        os.close(self._lock)


def claim(base: int | None = None) -> PortBlock:
    """Take the block at `base`, or the first free one.

    Raises `UsageError` when `base` is no block, when something holds it, or when no block is free.
    """
    if base is not None:
        if base not in range(FIRST_BASE, LAST_BASE + 1, BLOCK_SIZE):
            raise UsageError(
                f"port base {base} is no block; expected a multiple of {BLOCK_SIZE} "
                f"from {FIRST_BASE} to {LAST_BASE}"
            )
        block = _try(base)
        if isinstance(block, str):
            raise UsageError(
                f"port block {base}-{base + BLOCK_SIZE - 1} is taken: {block}; "
                "choose another base, or none to get a free block"
            )
        return block
    for candidate in range(FIRST_BASE, LAST_BASE + 1, BLOCK_SIZE):
        block = _try(candidate)
        if isinstance(block, PortBlock):
            return block
    raise UsageError(
        f"no free port block from {FIRST_BASE} to {LAST_BASE}; end other stacks with 'chaosbed down'"
    )


def busy(ports: Iterable[int]) -> tuple[int, ...]:
    """Return the ports that something listens on."""
    return tuple(port for port in ports if not _is_free(port))


def _try(base: int) -> PortBlock | str:
    """Return the block, or the reason why it cannot be had."""
    path = _lock_folder() / f"{base}.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return f"another stack holds {path}"
    taken = busy(range(base, base + BLOCK_SIZE))
    if taken:
        os.close(lock)
        return f"something listens on port {taken[0]}"
    return PortBlock(base, lock)


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"chaosbed-{os.getuid()}" / "ports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.parent.stat().st_uid != os.getuid():
        raise UsageError(f"{folder.parent} belongs to another user; remove it or set TMPDIR")
    return folder


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform == "linux":
            # Connections of a stack that just ended linger; only a listener counts. Elsewhere this option
            # would also hide listeners on other addresses.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True
