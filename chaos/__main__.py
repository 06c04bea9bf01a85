"""Be the command line: `python -m chaos`."""

from __future__ import annotations

from chaos.cli import entry

entry()
