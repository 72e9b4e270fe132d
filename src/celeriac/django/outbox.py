"""Messages in the tables of the transaction that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from celeriac.core.errors import ConfigurationError
from celeriac.core.outbox import Outgoing, Told
from celeriac.django.claims import moment
from celeriac.django.fast_path import FastPath
from celeriac.django.fetching import fetch_all
from celeriac.django.models import OutboxMessage
from celeriac.django.postgres_insert import PostgresInsert, can_insert
from celeriac.django.tables import Tables
from celeriac.django.transaction_end import at_end

__all__ = ["TransactionalOutbox"]

_PAYLOAD = OutboxMessage._meta.get_field("payload")


class TransactionalOutbox:
    """Writes a row for each message, on the database whose transaction is open."""

    def __init__(self, tables: Tables, fast_path: FastPath) -> None:
        self._tables = tables
        self._fast_path = fast_path
        self._postgres = PostgresInsert()

    def transaction(self, using: str | None = None) -> str | None:
        """Return the database in whose transaction the calling thread is."""
        if using is not None:
            return using if connections[using].in_atomic_block and self._tables.usable(using) else None
        found: Sequence[Any] = [
            one
            for one in connections.all(initialized_only=True)
            if one.in_atomic_block and self._tables.usable(one.alias)
        ]
        if len(found) > 1:
            found = _meant(found)
        return found[0].alias if found else None

    def add(self, database: str, outgoing: Sequence[Outgoing]) -> None:
        """The rows are part of the open transaction."""
        connection = connections[database]
        most = self._tables.on(database).most_rows
        for start in range(0, len(outgoing), most):
            written = monotonic()
            ids = self._insert(connection, outgoing[start : start + most])
            self._fast_path.expect(connection, ids, written)

    def at_end(self, database: str, told: Told, what: Any) -> None:
        """Tell of the commit, or of the rollback, of the open transaction or savepoint."""
        at_end(connections[database], told, what)

    def finish(self, seconds: float) -> bool:
        """Wait until what this process has committed is at the broker, or left to the relay; say if it is."""
        return self._fast_path.finish(seconds)

    def _insert(self, connection: Any, outgoing: Sequence[Outgoing]) -> list[int]:
        """Write the rows with as few statements as tell their ids; return these."""
        statements = self._tables.on(connection.alias)
        if can_insert(connection):
            return self._postgres.insert(connection, statements, outgoing)
        now, held_until = moment(connection), self._fast_path.held_until(connection)
        rows = [_values(connection, one, now, held_until) for one in outgoing]
        if statements.returns_ids:
            values = [value for row in rows for value in row]
            return [row[0] for row in fetch_all(connection, statements.insert(len(rows)), values)]
        ids = []
        with connection.cursor() as cursor:
            for row in rows:
                cursor.execute(statements.insert(1), row)
                ids.append(cursor.lastrowid)
        return ids


def _values(connection: Any, one: Outgoing, now: Any, held_until: Any) -> list[Any]:
    """Return the values of ``WRITTEN``."""
    message = one.message
    return [
        one.id,
        one.task,
        message.queue,
        one.exchange,
        _PAYLOAD.get_db_prep_save(message.payload, connection),
        message.priority,
        message.due,
        one.ordering_key,
        now,
        held_until,
    ]


def _meant(found: Sequence[Any]) -> Sequence[Any]:
    """Return the only one that counts; raise ConfigurationError if several do.

    Transactions that only a ``TestCase`` holds around a test count for nothing where others are open.
    """
    own = [one for one in found if not all(block._from_testcase for block in one.atomic_blocks)]
    if not own:
        own = [one for one in found if one.alias == DEFAULT_DB_ALIAS]
    if len(own) == 1:
        return own
    names = " or ".join(f"using={one.alias!r}" for one in found)
    raise ConfigurationError(f"transactions are open on several databases: say {names}")
