"""Live channels: started and stopped by their owners, watched by everybody.

A channel's playlist is always at the same address: of what is sent now, or of its last recording.
"""
# ruff: noqa: TC001 - FastAPI reads annotations at run time

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response

from app.api.dependencies import CurrentCreator, UseServices
from app.api.openapi import problems
from app.api.v1.files import send_file
from app.core.errors import UnavailableError
from app.models import ChannelState
from app.services.channels import NAME, ChannelRecord
from app.services.video import Owner

PLAYLIST = "application/vnd.apple.mpegurl"
SEGMENT = "video/mp2t"
RECORDING = "video/mp4"
# A segment's name is never used for anything else, a recording may be deleted, and a playlist is old at once.
KEEP, ASK, KEEP_NOT = "public, max-age=60, immutable", "no-cache", "no-store"
FILE = r"^(?:[0-9]{1,20}\.ts|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.mp4)$"

UNAVAILABLE = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
MISSING_OR_MALFORMED = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)

ChannelName = Annotated[
    str,
    Path(
        pattern=NAME, max_length=63, description="Lower case, digits and dashes.", examples=["demo"]
    ),
]
After = Annotated[
    str | None,
    Query(
        alias="cursor",
        pattern=NAME,
        max_length=63,
        description="Where the page before ended: its `next_cursor`.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=100)]
Mode = Literal["live", "vod", "offline"]

router = APIRouter(prefix="/live", tags=["live"])


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """A channel as the list shows it: `state` is its owner's wish."""

    name: str
    owner: Owner
    state: ChannelState
    playlist_url: str
    recording_id: UUID | None


@dataclass(frozen=True, slots=True)
class ChannelPage:
    """A part of all channels, by name; `next_cursor` leads to the part after it, null at the end."""

    items: list[ChannelSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ChannelDetail:
    """A channel and what it shows now.

    The playlist's address is there unless the mode is `offline`; `recording_url` leads to the last recording as one
    file, which any browser plays.
    """

    name: str
    owner: Owner
    state: ChannelState
    mode: Mode
    playlist_url: str | None
    recording_id: UUID | None
    recording_url: str | None


@dataclass(frozen=True, slots=True)
class ChannelStopped:
    """A channel is off the air, or will be as soon as the origin can be told.

    `recording_id` is the video that its recording becomes in a moment; null when nothing was recorded, or that is not
    known yet.
    """

    name: str
    state: ChannelState
    recording_id: UUID | None


# Before the route of one channel, which would take "channels" for a name.
@router.get("/channels", responses=problems(HTTPStatus.UNPROCESSABLE_ENTITY, *UNAVAILABLE))
async def list_channels(
    services: UseServices, limit: Limit = 20, cursor: After = None
) -> ChannelPage:
    """List channels by name."""
    found = await services.live.channels.page(limit + 1, cursor or "")
    items = [_summary(channel) for channel in found[:limit]]
    return ChannelPage(items, items[-1].name if len(found) > limit else None)


@router.put(
    "/channels/{name}",
    responses=problems(
        HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, *UNAVAILABLE
    ),
)
async def start_channel(
    name: ChannelName, identity: CurrentCreator, services: UseServices
) -> ChannelSummary:
    """Make a channel live; it can be watched when the answer comes. A name that is new becomes the caller's."""
    return _summary(await services.live.start(identity.user_id, name))


@router.delete(
    "/channels/{name}",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(HTTPStatus.FORBIDDEN, *MISSING_OR_MALFORMED, *UNAVAILABLE),
)
async def stop_channel(
    name: ChannelName, identity: CurrentCreator, services: UseServices
) -> ChannelStopped:
    """Take a channel off the air; its recording becomes a video of its owner."""
    channel, recording_id = await services.live.stop(identity.user_id, name)
    return ChannelStopped(channel.name, channel.state, recording_id)


@router.get("/{name}", responses=problems(*MISSING_OR_MALFORMED, *UNAVAILABLE))
async def get_channel(name: ChannelName, services: UseServices) -> ChannelDetail:
    """Show a channel, and where it can be watched."""
    channel = await services.live.channels.find(name)
    try:
        shown = await services.live.show(name)
    except UnavailableError:
        mode: Mode = "offline"
    else:
        mode = "live" if shown.playlist else "vod" if shown.recording else "offline"
    recording = channel.recording
    return ChannelDetail(
        name=channel.name,
        owner=Owner(channel.owner_id, channel.username),
        state=channel.state,
        mode=mode,
        playlist_url=None if mode == "offline" else _playlist_url(name),
        recording_id=recording.video_id if recording else None,
        recording_url=_recording_url(name, recording.video_id) if recording else None,
    )


@router.get(
    "/{name}/index.m3u8",
    response_class=Response,
    responses={
        200: {
            "description": "The playlist: of what is sent now, or of the last recording.",
            "content": {PLAYLIST: {"schema": {"type": "string"}}},
        },
        **problems(*MISSING_OR_MALFORMED, *UNAVAILABLE),
    },
)
async def get_playlist(name: ChannelName, services: UseServices) -> Response:
    """Show a channel's playlist (HLS)."""
    playlist = await services.live.playlist(name)
    return Response(playlist, headers={"Cache-Control": KEEP_NOT}, media_type=PLAYLIST)


@router.get(
    "/{name}/segments/{file}",
    response_class=Response,
    responses={
        200: {
            "description": "A segment of what is sent, or a recording.",
            "content": {SEGMENT: {}, RECORDING: {}},
        },
        206: {"description": "A part of a recording.", "content": {RECORDING: {}}},
        **problems(*MISSING_OR_MALFORMED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, *UNAVAILABLE),
    },
)
async def get_segment(
    name: ChannelName,
    file: Annotated[str, Path(pattern=FILE, max_length=40, description="As the playlist has it.")],
    services: UseServices,
    range_: Annotated[str | None, Header(alias="Range", max_length=256)] = None,
    if_range: Annotated[str | None, Header(max_length=256)] = None,
) -> Response:
    """Show one of the files that a playlist names. Of a recording a part may be asked for."""
    stem, _, kind = file.partition(".")
    if kind == "ts":
        segment = await services.live.segment(name, file)
        return Response(segment, headers={"Cache-Control": KEEP}, media_type=SEGMENT)
    recording = await services.live.recording(name, UUID(stem))
    return await send_file(
        services.storage,
        recording.form,
        range_header=range_,
        if_range=if_range,
        headers={"Cache-Control": ASK},
    )


def _summary(channel: ChannelRecord) -> ChannelSummary:
    return ChannelSummary(
        channel.name,
        Owner(channel.owner_id, channel.username),
        channel.state,
        _playlist_url(channel.name),
        channel.recording.video_id if channel.recording else None,
    )


def _playlist_url(name: str) -> str:
    return f"/api/v1/live/{name}/index.m3u8"


def _recording_url(name: str, video_id: UUID) -> str:
    return f"/api/v1/live/{name}/segments/{video_id}.mp4"
