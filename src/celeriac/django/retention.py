"""Forgets dead messages of an outbox that nobody has asked for in a long time."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic
from typing import Final

from django.utils import timezone

from celeriac.django.models import DeadOutboxMessage

__all__ = ["Retention"]

#: Seconds between two looks.
EVERY: Final = 60.0
#: Most rows deleted at a time, so that no transaction becomes long.
SLICE: Final = 1000


class Retention:
    """Of one database."""

    def __init__(self, database: str, seconds: float) -> None:
        self._database = database
        self._age = timedelta(seconds=seconds)
        self._next = monotonic()

    def tick(self) -> int:
        """Delete a slice of what is too old, if it is time; return how many rows."""
        if monotonic() < self._next:
            return 0
        rows = DeadOutboxMessage.objects.using(self._database)
        old = rows.filter(died__lt=timezone.now() - self._age).order_by("id")
        ids = list(old.values_list("id", flat=True)[:SLICE])
        if ids:
            rows.filter(id__in=ids).delete()
        if len(ids) < SLICE:
            self._next = monotonic() + EVERY
        return len(ids)
