"""Puts dead messages of an outbox back, to be published as if they had just been written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.db import transaction
from django.utils import timezone

from celeriac.django.models import DeadOutboxMessage, OutboxMessage

__all__ = ["dead_ids", "replay"]

SLICE: Final = 500
_SAME: Final = (*("task_id", "task", "queue", "exchange", "payload", "priority", "due", "ordering_key"),)


def dead_ids(database: str, tasks: Sequence[str] = ()) -> list[int]:
    """Return the ids of the dead messages, of all tasks or of some, the oldest first."""
    rows = DeadOutboxMessage.objects.using(database)
    if tasks:
        rows = rows.filter(task__in=tasks)
    return list(rows.order_by("id").values_list("id", flat=True))


def replay(database: str, ids: Sequence[int]) -> int:
    """Put these back, in the order in which they died; return how many were there."""
    count = 0
    for start in range(0, len(ids), SLICE):
        count += _replay(database, ids[start : start + SLICE])
    return count


def _replay(database: str, ids: Sequence[int]) -> int:
    with transaction.atomic(database):
        rows = DeadOutboxMessage.objects.using(database).filter(id__in=ids)
        found = list(rows.select_for_update().order_by("id"))
        now = timezone.now()
        OutboxMessage.objects.using(database).bulk_create(
            OutboxMessage(created=now, **{name: getattr(row, name) for name in _SAME}) for row in found
        )
        DeadOutboxMessage.objects.using(database).filter(id__in=[row.pk for row in found]).delete()
    return len(found)
