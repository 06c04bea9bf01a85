"""The application on the seeded world, with a Valkey that no other test has counted attempts in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.system import System, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from app.core.config import Settings
    from tests.app.servers import Server


@pytest.fixture
def fresh_settings(system: System, valkey: Server) -> Settings:
    """Settings of the seeded world with an empty Valkey."""
    return system.settings(redis_url=f"redis://{valkey.address}/0")


@pytest.fixture
async def app(fresh_settings: Settings) -> AsyncIterator[FastAPI]:
    """Run the whole application."""
    async with serving(fresh_settings) as app:
        yield app
