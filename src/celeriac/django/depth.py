"""How much waits in an outbox, as numbers for people and for exporters."""

from __future__ import annotations

import msgspec
from django.db.models import Count, Min
from django.utils import timezone

from celeriac.django.models import DeadOutboxMessage, OutboxMessage

__all__ = ["OutboxDepth", "measure"]


class OutboxDepth(msgspec.Struct, frozen=True, kw_only=True):
    """One database's outbox at one moment."""

    database: str
    #: Messages whose transaction has been committed and that have not left.
    depth: int
    #: Seconds since the oldest of them was written; 0 if there are none.
    oldest_seconds: float
    #: Those of them that the broker has refused at least once.
    refused: int
    #: Messages that were refused for good.
    dead: int


def measure(database: str) -> OutboxDepth:
    """Return the numbers of that database."""
    rows = OutboxMessage.objects.using(database)
    found = rows.aggregate(depth=Count("id"), oldest=Min("created"))
    oldest = found["oldest"]
    return OutboxDepth(
        database=database,
        depth=found["depth"],
        oldest_seconds=0.0 if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds()),
        refused=rows.filter(attempts__gt=0).count(),
        dead=DeadOutboxMessage.objects.using(database).count(),
    )
