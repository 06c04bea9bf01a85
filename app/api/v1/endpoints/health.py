"""Probes. Their answers come from memory (see `app.services.health`), so asking often costs nothing."""
# ruff: noqa: TC001 - FastAPI reads annotations at run time

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response

from app.api.dependencies import UseServices
from app.services.health import ComponentHealth, Status

probes = APIRouter(tags=["health"])
router = APIRouter(prefix="/health", tags=["health"])


@dataclass(frozen=True, slots=True)
class Liveness:
    """The process runs and its event loop turns."""

    status: Literal["alive"] = "alive"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether traffic may be sent here."""

    status: Literal["ready", "not_ready"]
    critical_failures: list[str]


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """How the backend is, in one word, and what is amiss."""

    status: Status
    critical_failures: list[str]
    optional_failures: list[str]


@dataclass(frozen=True, slots=True)
class HealthDetails(HealthSummary):
    """The same with every dependency and every feature.

    A feature is the operator's switch, a component's status and breaker are what happens at run time: neither
    changes the other.
    """

    components: dict[str, ComponentHealth]
    features: dict[str, Literal["enabled", "disabled"]]


@probes.get("/livez")
async def livez() -> Liveness:
    """Tell that the process lives. No dependency has a say: restarting us would not mend it."""
    return Liveness()


@probes.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "A critical dependency is away."}},
)
async def readyz(services: UseServices, response: Response) -> Readiness:
    """Tell whether requests can be served at all; what has a fallback has no say."""
    failures = services.health.report().critical_failures
    if failures:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness("not_ready", failures)
    return Readiness("ready", [])


@router.get("")
async def health(services: UseServices) -> HealthSummary:
    """Summarise. Always 200: this is a report; whether to send traffic here is what /readyz tells."""
    report = services.health.report()
    return HealthSummary(report.status, report.critical_failures, report.optional_failures)


@router.get("/detailed")
async def health_detailed(services: UseServices, request: Request) -> HealthDetails:
    """Show every dependency with its last check and its breaker, and which features are switched on."""
    report = services.health.report()
    features: dict[str, bool] = request.app.state.settings.features
    return HealthDetails(
        report.status,
        report.critical_failures,
        report.optional_failures,
        report.components,
        {name: "enabled" if on else "disabled" for name, on in features.items()},
    )
