"""The application on a seeded world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.system import System, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI


@pytest.fixture
async def app(system: System) -> AsyncIterator[FastAPI]:
    """Run the whole application on the seeded world."""
    async with serving(system.settings()) as app:
        yield app
