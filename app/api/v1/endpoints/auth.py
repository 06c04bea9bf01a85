"""Accounts of one's own: sign up, log in, sessions, two-factor authentication. No answer may be kept by a cache."""
# ruff: noqa: TC001 - FastAPI reads annotations at run time

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Depends

from app.api.dependencies import ClientAddress, CurrentUser, UseServices, keep_not
from app.api.openapi import problems
from app.api.strict_json import StrictRoute
from app.api.v1.requests import (
    ChallengeAnswer,
    Confirmation,
    Disabling,
    EnrolmentRequest,
    Login,
    RefreshRequest,
    Registration,
)
from app.services.accounts import Account
from app.services.auth import LoginAnswer
from app.services.sessions import TokenPair
from app.services.two_factor import Enrolment, RecoveryCodes

REFUSED = HTTPStatus.UNAUTHORIZED
LIMITED = HTTPStatus.TOO_MANY_REQUESTS

router = APIRouter(
    prefix="/auth", tags=["auth"], dependencies=[Depends(keep_not)], route_class=StrictRoute
)


@router.post(
    "/register",
    status_code=HTTPStatus.CREATED,
    responses=problems(HTTPStatus.CONFLICT, LIMITED),
)
async def register(body: Registration, services: UseServices, address: ClientAddress) -> Account:
    """Make an account. Everybody begins as a viewer."""
    return await services.accounts.register(body.username, body.email, body.password, address)


@router.post("/login", responses=problems(REFUSED, LIMITED))
async def login(body: Login, services: UseServices, address: ClientAddress) -> LoginAnswer:
    """Log in by password. An account with two-factor authentication also needs a code, here or in a second step."""
    return await services.auth.login(body.username, body.password, body.code, address)


@router.post("/login/code", responses=problems(REFUSED, LIMITED))
async def login_with_code(
    body: ChallengeAnswer, services: UseServices, address: ClientAddress
) -> TokenPair:
    """Finish a login with the code that was missing."""
    return await services.auth.login_with_code(body.challenge, body.code, address)


@router.post("/refresh", responses=problems(REFUSED))
async def refresh(body: RefreshRequest, services: UseServices) -> TokenPair:
    """Exchange a refresh token for a new pair. One that is shown twice ends its session."""
    return await services.sessions.refresh(body.refresh_token)


@router.post("/logout", status_code=HTTPStatus.NO_CONTENT)
async def logout(body: RefreshRequest, services: UseServices) -> None:
    """End the session of a refresh token. Its access token runs out within ten minutes."""
    await services.sessions.end(body.refresh_token)


@router.get("/me")
async def me(identity: CurrentUser, services: UseServices) -> Account:
    """Show the caller's account."""
    return await services.accounts.show(identity.user_id)


@router.post(
    "/2fa/enrol",
    status_code=HTTPStatus.CREATED,
    responses=problems(HTTPStatus.CONFLICT, LIMITED),
)
async def enrol(
    body: EnrolmentRequest, identity: CurrentUser, services: UseServices, address: ClientAddress
) -> Enrolment:
    """Give a secret for an authenticator. Nothing changes before it is confirmed."""
    return await services.two_factor.enrol(identity.user_id, body.password, address)


@router.post("/2fa/confirm", responses=problems(HTTPStatus.CONFLICT, LIMITED))
async def confirm(
    body: Confirmation, identity: CurrentUser, services: UseServices, address: ClientAddress
) -> RecoveryCodes:
    """Switch two-factor authentication on. The recovery codes are shown this once."""
    return await services.two_factor.confirm(identity, body.code, address)


@router.post(
    "/2fa/disable",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(HTTPStatus.CONFLICT, LIMITED),
)
async def disable(
    body: Disabling, identity: CurrentUser, services: UseServices, address: ClientAddress
) -> None:
    """Switch two-factor authentication off."""
    await services.two_factor.disable(identity.user_id, body.password, body.code, address)
