"""Python runs this at its start when its folder is on PYTHONPATH: an upload's task is sent, and forgotten.

What a careless change would do: the video is committed without a row of the outbox, and then the task is sent. So there
is nothing either that the application could do itself, or that the reconciler could find.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.infrastructure.task_queue import make_celery, task_id
from app.models import Task
from app.services import upload
from app.services.upload import UploadService
from tests.e2e.sabotage import take_out, without

if TYPE_CHECKING:
    from uuid import UUID

    from app.services.upload import StoredFile, UploadReceipt, UploadRequest

_build = UploadService.__init__
_keep = UploadService.keep
_urls: list[str] = []


def _built(self: UploadService, settings: Any, *parts: Any) -> None:
    _urls[:] = [settings.broker_url.get_secret_value()]
    _build(self, settings, *parts)


async def _keep_and_send(
    self: UploadService, request: UploadRequest, file: StoredFile
) -> tuple[UploadReceipt, bool]:
    receipt, fresh = await _keep(self, request, file)
    if fresh:
        asyncio.get_running_loop().run_in_executor(None, _send, receipt.video_id)
    return receipt, fresh


def _send(video_id: UUID) -> None:
    with suppress(Exception), make_celery(_urls[0]) as celery:
        task = str(Task.PROCESS_VIDEO)
        celery.send_task(task, (str(video_id),), task_id=task_id(task, video_id))


take_out(UploadService, "__init__", _built)
take_out(UploadService, "keep", _keep_and_send)
take_out(
    upload,
    "_RECORD",
    without(
        upload._RECORD,
        ("INSERT INTO outbox (task, subject, correlation_id)", ""),
        ("RETURNING subject", ""),
    ),
)
