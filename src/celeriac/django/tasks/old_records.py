"""Records of tasks that finished long ago are deleted; what waits or runs is never too old."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from celeriac.django.models import TaskRecord
from celeriac.django.old_rows import delete_first

__all__ = ["delete_finished_before"]

_FINISHED: Final = (TaskRecord.Status.FAILED, TaskRecord.Status.SUCCESSFUL)


def delete_finished_before(using: str, moment: datetime, limit: int) -> int:
    """Delete up to ``limit`` records of tasks that finished before; return how many these were."""
    records = TaskRecord.objects.using(using).filter(status__in=_FINISHED, finished_at__lt=moment)
    return delete_first(records.order_by("finished_at"), limit)
