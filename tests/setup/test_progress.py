"""What a person sees while servers are built."""

from __future__ import annotations

import io
import threading

import pytest

from chaos.setup import progress as module
from chaos.setup.progress import CLEAR, Progress


class Terminal(io.StringIO):
    """A terminal, or not, that remembers and lets a test wait for a text."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self._wanted = "\0"
        self._seen = threading.Event()

    def isatty(self) -> bool:
        """Say what it was made to be."""
        return self._is_terminal

    def write(self, text: str) -> int:
        """Remember, and wake who waits."""
        if self._wanted in text:
            self._seen.set()
        return super().write(text)

    def wait_for(self, text: str) -> bool:
        """Wait until `text` is written from now on."""
        self._wanted = text
        return self._seen.wait(5.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks that a test can wait for."""
    monkeypatch.setattr(module, "LIVE_EVERY_S", 0.01)
    monkeypatch.setattr(module, "PLAIN_EVERY_S", 0.01)


def test_elsewhere_every_line_stays() -> None:
    """In a CI log there are whole lines without control characters, and they say what is at work."""
    out = Terminal(is_terminal=False)
    with Progress(lambda text: print(text, file=out), out) as progress:
        progress.begin("greeter v1")
        progress.step("greeter v1")
        assert out.wait_for("  ... greeter v1 0 s, 1 packages")
        progress.end("greeter v1", "built")

    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().endswith("  greeter v1: built after 0 s\n")


def test_on_a_terminal_one_line_is_rewritten() -> None:
    """It is wiped before each line that stays, and at the end."""
    out = Terminal(is_terminal=True)
    with Progress(lambda text: print(text, file=out), out) as progress:
        progress.begin("greeter v1")
        assert out.wait_for(f"{CLEAR}  greeter v1 0 s, downloading")
        progress.end("greeter v1", "built")

    assert out.getvalue().endswith(f"{CLEAR}  greeter v1: built after 0 s\n{CLEAR}")
