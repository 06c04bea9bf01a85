"""A user's cache, a module proxy and a folder for links, all of the test's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from chaos.setup.build import run_setup

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a set-up of the test's own reads and writes."""

    cache: Path
    proxy: Path
    links: Path
    pins: Path

    def set_up(self) -> list[str]:
        """Run the set-up and return the lines that it said."""
        said: list[str] = []
        run_setup(said.append, pins=self.pins, links=self.links)
        return said

    @property
    def left_over(self) -> list[Path]:
        """What an unfinished build has left among the finished ones."""
        return list((self.cache / "tools").glob(".*"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Go's caches, shared so that its runtime is compiled once."""
    return tmp_path_factory.mktemp("go")


@pytest.fixture
def place(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty cache, and a proxy that the wheel's Go is pointed at."""
    here = Place(
        tmp_path / "user" / "chaosbed",
        tmp_path / "proxy",
        tmp_path / "links",
        tmp_path / "tools.toml",
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(here.cache.parent))
    monkeypatch.setenv("GOPROXY", here.proxy.as_uri())
    monkeypatch.setenv("GOSUMDB", "off")
    here.cache.mkdir(parents=True)
    # A link is not removed with what it leads to, which keeps it for the next test.
    (here.cache / "go").symlink_to(compiled)
    return here
