"""Toxics as values: only such attributes as Toxiproxy 2.12 understands and survives can be expressed.

It takes any number and then does something else with it, hangs or crashes: a negative delay, a rate of 0 (a silent
stall), a slicer without a size (its stack overflows), a reset that waits long (it blocks the whole control API).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chaos.errors import UsageError

DELAY_MAX_MS = 10_000
RATE_MAX_KB_PER_S = 1_000_000
RESET_MAX_MS = 1_000
BYTES_MAX = 1_000_000_000
Stream = Literal["downstream", "upstream"]


@dataclass(frozen=True, slots=True)
class ToxicState:
    """A toxic as the API shows it.

    `toxicity` is always 1 in ours: it is drawn once per connection and drawn again when a neighbour changes, so a
    smaller share would not mean what it says.
    """

    name: str
    kind: str
    stream: str
    attributes: dict[str, int]
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True)
class LatencyToxic:
    """Delay each chunk by `latency_ms` ± `jitter_ms`. Raises `UsageError` for what the API would misread."""

    name: str
    stream: Stream
    latency_ms: int
    jitter_ms: int = 0

    def __post_init__(self) -> None:
        """Refuse what Toxiproxy accepts and then does something else with, such as a negative delay."""
        if not 1 <= self.latency_ms <= DELAY_MAX_MS:
            raise UsageError(f"latency_ms={self.latency_ms}; expected 1 to {DELAY_MAX_MS}")
        if not 0 <= self.jitter_ms <= self.latency_ms:
            raise UsageError(
                f"jitter_ms={self.jitter_ms}; expected 0 to latency_ms={self.latency_ms}"
            )

    @property
    def state(self) -> ToxicState:
        """What the API shows while this toxic is in force."""
        attributes = {"latency": self.latency_ms, "jitter": self.jitter_ms}
        return ToxicState(self.name, "latency", self.stream, attributes)


@dataclass(frozen=True, slots=True)
class BlackholeToxic:
    """Drop all data and keep the connections open: Toxiproxy's `timeout` toxic at 0.

    Above 0 its timer restarts with every chunk, so a busy client would never be cut; hence no such parameter.
    """

    name: str
    stream: Stream

    @property
    def state(self) -> ToxicState:
        """What the API shows while this toxic is in force."""
        return ToxicState(self.name, "timeout", self.stream, {"timeout": 0})


@dataclass(frozen=True, slots=True)
class BandwidthToxic:
    """Let at most `rate_kb_per_s` (1 KB is 1,000 bytes) through on each connection."""

    name: str
    stream: Stream
    rate_kb_per_s: int

    def __post_init__(self) -> None:
        """Refuse 0, which would be a silent stall under the name of a limit."""
        _within("rate_kb_per_s", self.rate_kb_per_s, 1, RATE_MAX_KB_PER_S)

    @property
    def state(self) -> ToxicState:
        """What the API shows while this toxic is in force."""
        return ToxicState(self.name, "bandwidth", self.stream, {"rate": self.rate_kb_per_s})


@dataclass(frozen=True, slots=True)
class ResetToxic:
    """Reset each connection `after_ms` after its first data.

    The wait cannot be interrupted: while one lasts, every call to the control API waits for it.
    """

    name: str
    stream: Stream
    after_ms: int

    def __post_init__(self) -> None:
        """Refuse waits that would block the control API for longer than an undo may take."""
        _within("after_ms", self.after_ms, 0, RESET_MAX_MS)

    @property
    def state(self) -> ToxicState:
        """What the API shows while this toxic is in force."""
        return ToxicState(self.name, "reset_peer", self.stream, {"timeout": self.after_ms})


@dataclass(frozen=True, slots=True)
class LimitToxic:
    """Close each connection when `limit_bytes` have passed on it."""

    name: str
    stream: Stream
    limit_bytes: int

    def __post_init__(self) -> None:
        """Refuse 0: a connection that passes nothing is another fault."""
        _within("limit_bytes", self.limit_bytes, 1, BYTES_MAX)

    @property
    def state(self) -> ToxicState:
        """What the API shows while this toxic is in force."""
        return ToxicState(self.name, "limit_data", self.stream, {"bytes": self.limit_bytes})


@dataclass(frozen=True, slots=True)
class SlowCloseToxic:
    """Pass the end of each connection on only after `delay_ms`; data passes at once."""

    name: str
    stream: Stream
    delay_ms: int

    def __post_init__(self) -> None:
        """Refuse what is no delay."""
        _within("delay_ms", self.delay_ms, 1, DELAY_MAX_MS)

    @property
    def state(self) -> ToxicState:
        """What the API shows while this toxic is in force."""
        return ToxicState(self.name, "slow_close", self.stream, {"delay": self.delay_ms})


Toxic = LatencyToxic | BlackholeToxic | BandwidthToxic | ResetToxic | LimitToxic | SlowCloseToxic


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name}={value}; expected {low} to {high}")
