"""What endpoints ask for: the services, which `create_app` puts on the application, and who is calling."""
# ruff: noqa: TC001 - FastAPI reads annotations at run time

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.core.context import current
from app.core.errors import UnauthorizedError
from app.core.security.tokens import Identity, Tokens
from app.models import Role
from app.services.accounts import AccountService, denied
from app.services.auth import AuthService
from app.services.health import HealthChecker
from app.services.live import LiveService
from app.services.own_videos import OwnVideos
from app.services.sessions import Sessions
from app.services.storage import StorageService
from app.services.streaming import StreamingService
from app.services.two_factor import TwoFactor
from app.services.upload import UploadService
from app.services.video import VideoService
from app.services.views import Views
from app.worker.local import LocalWork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Services:
    """One of each."""

    videos: VideoService
    own_videos: OwnVideos
    views: Views
    uploads: UploadService
    tasks: LocalWork
    streaming: StreamingService
    live: LiveService
    storage: StorageService
    health: HealthChecker
    accounts: AccountService
    auth: AuthService
    sessions: Sessions
    two_factor: TwoFactor
    tokens: Tokens


# A coroutine, since FastAPI would run a plain function in a thread, for each request.
async def get_services(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    return cast("Services", request.app.state.services)


UseServices = Annotated[Services, Depends(get_services)]

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token.")


async def get_identity(
    services: UseServices,
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    """Return who calls, as their access token proves. Raises UnauthorizedError."""
    if shown is None:
        raise UnauthorizedError("an access token is needed: Authorization: Bearer …")
    identity = services.tokens.read_access(shown.credentials)
    context = current.get()
    if context is not None:
        context.user_id = str(identity.user_id)
    return identity


CurrentUser = Annotated[Identity, Depends(get_identity)]


async def get_viewer(request: Request, services: UseServices) -> Identity | None:
    """Return who calls, None for everybody who does not prove it: for what is public, and more for some."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return await get_identity(
            services, HTTPAuthorizationCredentials(scheme=scheme, credentials=token.strip())
        )
    except UnauthorizedError:
        return None


Viewer = Annotated[Identity | None, Depends(get_viewer)]


def require_role(least: Role) -> Any:  # noqa: ANN401 - what `Depends` gives is a marker for FastAPI
    """Return the dependency on a caller of this role or a higher one; 403 for the others."""

    async def check(identity: CurrentUser) -> Identity:
        if _RANKS[identity.role] < _RANKS[least]:
            raise denied(identity.user_id, f"this takes the role {least}")
        return identity

    wanted: Callable[[Identity], Awaitable[Identity]] = check
    return Depends(wanted)


CurrentCreator = Annotated[Identity, require_role(Role.CREATOR)]
CurrentAdmin = Annotated[Identity, require_role(Role.ADMIN)]


async def get_address(request: Request) -> str:
    """Return the address that the caller has for us, behind trusted proxies only."""
    return request.client.host if request.client is not None else "unknown"


ClientAddress = Annotated[str, Depends(get_address)]


async def keep_not(response: Response) -> None:
    """Tell every cache on the way to keep nothing of the answer."""
    response.headers["Cache-Control"] = "no-store"
