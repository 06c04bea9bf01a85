"""Videos: list, trending, detail, changes, thumbnail, and views.

Reads return bytes that are ready to send (see `app.services.video`); `response_model` only describes them.
"""
# ruff: noqa: TC001, TC003 - FastAPI reads annotations at run time

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, HTTPException, Response

from app.api.dependencies import CurrentCreator, UseServices
from app.api.openapi import problems
from app.api.strict_json import StrictRoute
from app.api.v1.paging import CursorText, Limit, read_cursor
from app.api.v1.requests import VideoChange
from app.core.context import current
from app.services.media import thumbnail_key
from app.services.video import TrendingVideos, VideoDetail, VideoPage, ViewReceipt

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


@router.patch("/trending", include_in_schema=False)
async def change_trending() -> None:
    """Refuse, or the route of one video would take "trending" for an id."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)


@router.get(
    "/{video_id}",
    response_model=VideoDetail,
    responses=problems(*MISSING_OR_MALFORMED, *UNAVAILABLE),
)
async def get_video(video_id: UUID, services: UseServices) -> Response:
    """Show one video."""
    return Response(await services.videos.detail(video_id), media_type=JSON)


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
    detail = await services.videos.change(identity.user_id, video_id, changes)
    return Response(detail, media_type=JSON)


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
async def record_view(video_id: UUID, services: UseServices) -> ViewReceipt:
    """Count a view. The answer is sent when the view is on the database's disk."""
    return await services.videos.record_view(video_id)
