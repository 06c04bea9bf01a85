"""What endpoints ask for: the services, which `create_app` puts on the application."""
# ruff: noqa: TC001 - FastAPI reads annotations at run time

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from app.services.health import HealthChecker
from app.services.storage import StorageService
from app.services.video import VideoService


@dataclass(frozen=True, slots=True)
class Services:
    """One of each."""

    videos: VideoService
    storage: StorageService
    health: HealthChecker


# A coroutine, since FastAPI would run a plain function in a thread, for each request.
async def get_services(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    return cast("Services", request.app.state.services)


UseServices = Annotated[Services, Depends(get_services)]
