"""Videos as bytes: upload and streaming."""
# ruff: noqa: TC001, TC003 - FastAPI reads annotations at run time

from __future__ import annotations

import base64
import binascii
import re
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response

from app.api.dependencies import CurrentCreator, UseServices, Viewer
from app.api.openapi import problems
from app.api.v1.files import send_file
from app.api.v1.requests import NO_NUL, TITLE
from app.services.streaming import (
    Form,
    RenditionName,
    matches,
)
from app.services.upload import RefusedError, UploadReceipt, UploadRequest

IDEMPOTENCY_KEY = r"^[A-Za-z0-9_-]{8,64}$"
MAX_DIGEST_LENGTH = 512
DIGEST_BYTES = 32
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]*={0,2}):")
# Kept by whoever likes, and asked for again each time: a deleted video is gone at once.
KEEP_AND_ASK, KEEP_PRIVATE_AND_ASK = "no-cache", "private, no-cache"

UNAVAILABLE = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
VIDEO_TYPES = (
    *("video/mp4", "video/quicktime", "video/webm", "video/x-matroska", "video/mp2t"),
    "application/octet-stream",
)
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file. Its type is told by its first bytes, whatever the header says.",
        "content": dict.fromkeys(VIDEO_TYPES, _BYTES),
    }
}

router = APIRouter(prefix="/videos", tags=["videos"])


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    response_model=UploadReceipt,
    openapi_extra=_UPLOAD_BODY,
    responses={
        200: {
            "description": "This upload was accepted before; the receipt again.",
            "model": UploadReceipt,
        },
        **problems(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INSUFFICIENT_STORAGE,
            *UNAVAILABLE,
        ),
    },
)
async def upload_video(
    *,
    request: Request,
    response: Response,
    identity: CurrentCreator,
    services: UseServices,
    title: Annotated[str, Query(min_length=1, max_length=200, pattern=TITLE)],
    idempotency_key: Annotated[
        str,
        Header(
            pattern=IDEMPOTENCY_KEY,
            description="Names this upload: sent again with the same, it becomes no second video.",
            examples=["2f1b7a3c-one-upload"],
        ),
    ],
    description: Annotated[str, Query(max_length=5000, pattern=NO_NUL)] = "",
    content_digest: Annotated[
        str | None,
        Header(max_length=MAX_DIGEST_LENGTH, description="RFC 9530; `sha-256` is checked."),
    ] = None,
) -> UploadReceipt:
    """Upload a video. The answer is sent when the file is durably kept and its processing is asked for."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the file without a coding")
    length = request.headers.get("content-length")
    upload = UploadRequest(
        owner_id=identity.user_id,
        key=idempotency_key,
        title=title,
        description=description,
        size_bytes=int(length) if length is not None else None,
        checksum_sha256=_sha256_of(content_digest),
    )
    services.tasks.mark()
    receipt, fresh = await services.uploads.receive(upload, request.stream())
    response.headers["Cache-Control"] = "no-store"
    if not fresh:
        response.status_code = HTTPStatus.OK
    return receipt


Rendition = Annotated[
    RenditionName | None,
    Query(description="Without one: 720p, else what is there. `source` is what was uploaded."),
]
_IF_NONE_MATCH = Annotated[str | None, Header(max_length=1024)]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client has it."},
    **problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, *UNAVAILABLE),
}


@router.get(
    "/{video_id}/stream",
    response_class=Response,
    responses={
        200: {"description": "All of it.", "content": {"video/*": _BYTES}},
        206: {"description": "The part that was asked for.", "content": {"video/*": _BYTES}},
        **problems(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
        **_ANSWERS,
    },
)
async def stream_video(
    *,
    video_id: UUID,
    viewer: Viewer,
    services: UseServices,
    rendition: Rendition = None,
    range_: Annotated[
        str | None,
        Header(alias="Range", max_length=256, description="One range of bytes."),
    ] = None,
    if_range: Annotated[str | None, Header(max_length=256)] = None,
    if_none_match: _IF_NONE_MATCH = None,
) -> Response:
    """Watch a video, or a part of it."""
    form = await services.streaming.find(video_id, rendition, _id_of(viewer))
    if matches(if_none_match, form.etag):
        return _unchanged(form, viewer)
    return await send_file(
        services.storage,
        form,
        range_header=range_,
        if_range=if_range,
        headers=_headers(form, viewer),
    )


@router.head(
    "/{video_id}/stream",
    response_class=Response,
    responses={200: {"description": "What GET would send of all of it."}, **_ANSWERS},
)
async def describe_stream(
    video_id: UUID,
    viewer: Viewer,
    services: UseServices,
    rendition: Rendition = None,
    if_none_match: _IF_NONE_MATCH = None,
) -> Response:
    """Tell size, type and tag of what would be watched."""
    form = await services.streaming.find(video_id, rendition, _id_of(viewer))
    if matches(if_none_match, form.etag):
        return _unchanged(form, viewer)
    headers = {**_headers(form, viewer), "Content-Length": str(form.size_bytes)}
    return Response(headers=headers, media_type=form.content_type)


def _id_of(viewer: Viewer) -> UUID | None:
    return viewer.user_id if viewer is not None else None


def _headers(form: Form, viewer: object) -> dict[str, str]:
    return {
        "ETag": form.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": KEEP_AND_ASK if viewer is None else KEEP_PRIVATE_AND_ASK,
    }


def _unchanged(form: Form, viewer: object) -> Response:
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(form, viewer))


def _sha256_of(content_digest: str | None) -> str | None:
    """Return the SHA-256 that a Content-Digest names, in hex; None when it names none."""
    if content_digest is None:
        return None
    for member in content_digest.split(","):
        name, _, _ = member.strip().partition("=")
        if name != "sha-256":
            continue
        match = _DIGEST.fullmatch(member.strip())
        try:
            digest = base64.b64decode(match[1], validate=True) if match else b""
        except binascii.Error:
            digest = b""
        if len(digest) != DIGEST_BYTES:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "Content-Digest: its sha-256 is not 32 bytes in base64 between colons",
            )
        return digest.hex()
    return None
