"""Videos: lists, trending, detail, changes, deletion, thumbnail, and views. Their bytes are in `media`.

Reads return bytes that are ready to send (see `app.services.video`); `response_model` only describes them.
"""
# ruff: noqa: TC001, TC002, TC003 - FastAPI reads annotations at run time

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, HTTPException, Response
from pydantic.json_schema import SkipJsonSchema

from app.api.dependencies import CurrentCreator, CurrentUser, UseServices, Viewer
from app.api.openapi import problems
from app.api.strict_json import StrictRoute
from app.api.v1.paging import CursorText, Limit, read_cursor
from app.api.v1.requests import VideoChange
from app.core.context import current
from app.core.errors import NotFoundError
from app.services.media import thumbnail_key
from app.services.own_videos import OwnVideoPage
from app.services.video import TrendingVideos, VideoDetail, VideoPage
from app.services.views import ViewReceipt

JSON = "application/json"
# Browsers may keep a real thumbnail, and must ask again for a placeholder.
KEEP, KEEP_NOT = "public, max-age=300", "no-store"

UNAVAILABLE = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
MISSING_OR_MALFORMED = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)

router = APIRouter(prefix="/videos", tags=["videos"], route_class=StrictRoute)


@router.get(
    "",
    response_model=VideoPage,
    responses=problems(HTTPStatus.UNPROCESSABLE_ENTITY, *UNAVAILABLE),
)
async def list_videos(
    services: UseServices, limit: Limit = 20, cursor: CursorText = None
) -> Response:
    """List public videos, newest first."""
    return Response(await services.videos.page(limit, read_cursor(cursor)), media_type=JSON)


# Before the route of one video, which would take "trending" for an id.
@router.get("/trending", response_model=TrendingVideos, responses=problems(*UNAVAILABLE))
async def trending_videos(services: UseServices) -> Response:
    """List the videos of the week."""
    return Response(await services.videos.trending(), media_type=JSON)


@router.get(
    "/mine",
    response_model=OwnVideoPage,
    responses=problems(HTTPStatus.UNPROCESSABLE_ENTITY, *UNAVAILABLE),
)
async def list_own_videos(
    identity: CurrentUser, services: UseServices, limit: Limit = 20, cursor: CursorText = None
) -> Response:
    """List the caller's own videos, newest first, whatever became of them."""
    page = await services.own_videos.page(identity.user_id, limit, read_cursor(cursor))
    return Response(page, headers={"Cache-Control": KEEP_NOT}, media_type=JSON)


@router.api_route("/trending", methods=["PATCH", "DELETE"], include_in_schema=False)
@router.api_route("/mine", methods=["PATCH", "DELETE"], include_in_schema=False)
async def change_list() -> None:
    """Refuse, or the route of one video would take the name of a list for an id."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)


@router.get(
    "/{video_id}",
    response_model=VideoDetail,
    responses=problems(*MISSING_OR_MALFORMED, *UNAVAILABLE),
)
async def get_video(video_id: UUID, viewer: Viewer, services: UseServices) -> Response:
    """Show one video. Its owner sees it with a token while it is processed, too, and what it failed by."""
    try:
        return Response(await services.videos.detail(video_id), media_type=JSON)
    except NotFoundError:
        if viewer is None:
            raise
    services.tasks.mark()
    detail = await services.own_videos.detail(viewer.user_id, video_id)
    return Response(detail, headers={"Cache-Control": KEEP_NOT}, media_type=JSON)


@router.patch(
    "/{video_id}",
    response_model=VideoDetail,
    responses=problems(HTTPStatus.FORBIDDEN, *MISSING_OR_MALFORMED, *UNAVAILABLE),
)
async def change_video(
    video_id: UUID, body: VideoChange, identity: CurrentCreator, services: UseServices
) -> Response:
    """Change what a video says of itself. Its owner may, and administrators."""
    changes = body.model_dump(exclude_unset=True)
    detail = await services.own_videos.change(identity.user_id, video_id, changes)
    return Response(detail, media_type=JSON)


@router.delete(
    "/{video_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(HTTPStatus.FORBIDDEN, *MISSING_OR_MALFORMED, *UNAVAILABLE),
)
async def delete_video(video_id: UUID, identity: CurrentUser, services: UseServices) -> Response:
    """Delete a video and all that was made from it. Its owner may, and administrators."""
    await services.own_videos.delete(identity.user_id, video_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get(
    "/{video_id}/thumbnail",
    response_class=Response,
    responses={
        200: {"description": "The image.", "content": {"image/png": {}}},
        **problems(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.GATEWAY_TIMEOUT),
    },
)
async def get_thumbnail(video_id: UUID, services: UseServices) -> Response:
    """Show a video's thumbnail; a placeholder when there is none, or the store is away and no copy is here."""
    image, content_type = await services.storage.thumbnail(thumbnail_key(video_id))
    context = current.get()
    degraded = context is not None and bool(context.degraded)
    caching = {"Cache-Control": KEEP_NOT if degraded else KEEP}
    return Response(image, headers=caching, media_type=content_type)


@router.post(
    "/{video_id}/views",
    status_code=HTTPStatus.ACCEPTED,
    response_model=ViewReceipt,
    responses=problems(*MISSING_OR_MALFORMED, *UNAVAILABLE),
)
async def record_view(
    video_id: UUID,
    services: UseServices,
    idempotency_key: Annotated[
        UUID | SkipJsonSchema[None],
        Header(description="An id for this view; sent again with the same, it is counted once."),
    ] = None,
) -> ViewReceipt:
    """Count a view. The answer is sent when the view is on the database's disk."""
    return await services.views.record(video_id, idempotency_key)
