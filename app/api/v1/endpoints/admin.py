"""What administrators may do. Their role is checked against the database, since a token may be older than it."""
# ruff: noqa: TC001, TC003 - FastAPI reads annotations at run time

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Depends

from app.api.dependencies import CurrentAdmin, UseServices, keep_not
from app.api.openapi import problems
from app.api.strict_json import StrictRoute
from app.api.v1.paging import CursorText, Limit, read_cursor
from app.api.v1.requests import RoleChange
from app.services.accounts import Account, AccountPage

router = APIRouter(
    prefix="/admin", tags=["admin"], dependencies=[Depends(keep_not)], route_class=StrictRoute
)


@router.get("/users", responses=problems(HTTPStatus.FORBIDDEN))
async def list_users(
    identity: CurrentAdmin, services: UseServices, limit: Limit = 20, cursor: CursorText = None
) -> AccountPage:
    """List all accounts, newest first."""
    return await services.accounts.page(identity.user_id, limit, read_cursor(cursor))


@router.put(
    "/users/{user_id}/role",
    responses=problems(HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
async def set_role(
    user_id: UUID, body: RoleChange, identity: CurrentAdmin, services: UseServices
) -> Account:
    """Give an account another role. The last administrator stays one."""
    return await services.accounts.set_role(identity.user_id, user_id, body.role)
