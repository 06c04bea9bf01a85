"""Stored files as answers: all of one, or the part that was asked for."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

from app.core.errors import NotFoundError, UnavailableError, problem_response
from app.infrastructure.object_store import ObjectMissingError
from app.services.streaming import Form, Part, UnsatisfiableError, part_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Response

    from app.services.storage import StorageService


async def send_file(
    storage: StorageService,
    form: Form,
    *,
    range_header: str | None,
    if_range: str | None,
    headers: Mapping[str, str],
) -> Response:
    """Answer with the file, or 206 or 416 by RFC 9110. Raises NotFoundError, UnavailableError."""
    try:
        part = part_of(form, range_header, if_range)
    except UnsatisfiableError:
        return problem_response(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "Range not satisfiable",
            f"the range begins behind the end; there are {form.size_bytes} bytes",
            headers={"Content-Range": f"bytes */{form.size_bytes}", "Accept-Ranges": "bytes"},
        )
    whole = part or Part(0, form.size_bytes)
    own = {"ETag": form.etag, "Accept-Ranges": "bytes", "Content-Length": str(whole.length)}
    if part is not None:
        last = part.start + part.length - 1
        own["Content-Range"] = f"bytes {part.start}-{last}/{form.size_bytes}"
    try:
        stream = await storage.open(form.key, whole.start, whole.length)
    except ObjectMissingError as error:
        raise NotFoundError("this form of the video is not there any more") from error
    if stream.size != form.size_bytes:
        # What is kept is not what was promised: another version, which a range would mix up.
        raise UnavailableError("this form of the video")
    return StreamingResponse(
        stream.chunks,
        HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT,
        {**headers, **own},
        form.content_type,
    )
