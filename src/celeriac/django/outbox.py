"""Messages in the tables of the transaction that they belong to."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connections
from django.utils import timezone

from celeriac.core.errors import ConfigurationError
from celeriac.core.outbox import Outgoing
from celeriac.django.models import OutboxMessage

__all__ = ["TransactionalOutbox"]


class TransactionalOutbox:
    """Writes a row for each message, on the database whose transaction is open."""

    def transaction(self, using: str | None = None) -> str | None:
        """Return the database in whose transaction the calling thread is."""
        if using is not None:
            return using if connections[using].in_atomic_block else None
        found = [one.alias for one in connections.all(initialized_only=True) if one.in_atomic_block]
        if len(found) > 1:
            names = " or ".join(f"using={alias!r}" for alias in found)
            raise ConfigurationError(f"transactions are open on several databases: say {names}")
        return found[0] if found else None

    def add(self, database: str, outgoing: Sequence[Outgoing]) -> None:
        """The rows are part of the open transaction."""
        now = timezone.now()
        OutboxMessage.objects.using(database).bulk_create(
            OutboxMessage(
                task_id=one.id,
                task=one.task,
                queue=one.message.queue,
                exchange=one.exchange,
                payload=one.message.payload,
                priority=one.message.priority,
                due=one.message.due,
                ordering_key=one.ordering_key,
                created=now,
            )
            for one in outgoing
        )
