"""Python runs this at its start when its folder is on PYTHONPATH: each task is published twice.

That is what a lost answer of the broker leads to, at moments that nobody can choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.infrastructure.task_queue import TaskQueue
from tests.e2e.sabotage import take_out

if TYPE_CHECKING:
    from uuid import UUID

_once = TaskQueue.publish


async def _twice(self: TaskQueue, task: str, subject: UUID, correlation_id: str | None) -> None:
    await _once(self, task, subject, correlation_id)
    await _once(self, task, subject, correlation_id)


take_out(TaskQueue, "publish", _twice)
