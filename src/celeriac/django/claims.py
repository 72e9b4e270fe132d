"""Rows taken for publishing: nobody else takes them meanwhile, and they are back if this process dies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
from django.db import connections, transaction
from django.utils import timezone

from celeriac.core.message import Message
from celeriac.core.outbox import Outgoing
from celeriac.django.fetching import fetch_all
from celeriac.django.models import OutboxMessage
from celeriac.django.statements import Statements

__all__ = ["Claim", "Claims", "Row", "moment"]

_CREATED = OutboxMessage._meta.get_field("created")


class Row(msgspec.Struct, frozen=True):
    """One waiting message."""

    id: int
    attempts: int
    outgoing: Outgoing


class Claim(msgspec.Struct, frozen=True):
    """Rows in the order in which they leave."""

    rows: Sequence[Row]
    #: Ordering keys of rows that must wait for an earlier one.
    waiting: frozenset[str] = frozenset()
    #: The id of the last row looked at; 0 if there was none.
    last: int = 0


class Claims:
    """Takes rows of one database's outbox.

    Where the database can skip rows that others have locked, a claim is a transaction that holds its
    rows' locks: it ends with the process. SQLite cannot; there one relay is elected, and rows have
    ``held_until`` while the process that has written them publishes them itself.
    """

    def __init__(self, database: str, statements: Statements) -> None:
        self.database = database
        self.statements = statements

    @property
    def locking(self) -> bool:
        """Whether several may take rows at once."""
        return self.statements.skips_locked

    @contextmanager
    def next(self, after: int, limit: int, without: Iterable[str] = ()) -> Iterator[Claim]:
        """Take up to so many rows with ids above ``after`` that nobody holds, but for some ordering keys."""
        keys = list(without)
        connection = connections[self.database]
        others = self.statements.listed(keys) if keys else ()
        values = [after, moment(connection), *others, limit]
        with self._taking(self.statements.next_rows(len(keys)), values) as claim:
            yield claim

    @contextmanager
    def named(self, ids: Sequence[int]) -> Iterator[Claim]:
        """Take those of the rows that are still there and that nobody else has."""
        listed = self.statements.listed(ids)
        values = listed if self.locking else [*listed, moment(connections[self.database])]
        with self._taking(self.statements.named_rows(len(ids)), values) as claim:
            yield claim

    @contextmanager
    def _taking(self, statement: str, values: Sequence[Any]) -> Iterator[Claim]:
        connection = connections[self.database]
        alone = not connection.in_atomic_block  # and not part of a test's transaction
        with ExitStack() as stack:
            if self.locking:
                stack.enter_context(transaction.atomic(self.database))
            cursor = stack.enter_context(connection.cursor())
            if self.statements.prepare is not None and alone:
                cursor.execute(self.statements.prepare)
            rows = [_row(*found) for found in fetch_all(connection, statement, values)]
            yield self._in_order(cursor, rows)

    def _in_order(self, cursor: Any, rows: Sequence[Row]) -> Claim:
        """Leave out rows with an earlier one of the same ordering key that is not among them."""
        last = rows[-1].id if rows else 0
        keyed = [row for row in rows if row.outgoing.ordering_key is not None]
        if not keyed:
            return Claim(rows, last=last)
        keys = list({row.outgoing.ordering_key for row in keyed})
        ids = [row.id for row in keyed]
        listed = self.statements.listed
        cursor.execute(self.statements.earlier(len(keys), len(ids)), [*listed(keys), ids[-1], *listed(ids)])
        first = dict(cursor.fetchall())
        waiting = {row.id for row in keyed if first.get(row.outgoing.ordering_key, row.id) < row.id}
        if not waiting:
            return Claim(rows, last=last)
        held_up = frozenset(str(row.outgoing.ordering_key) for row in keyed if row.id in waiting)
        return Claim([row for row in rows if row.id not in waiting], held_up, last)


def moment(connection: Any, value: Any = None) -> Any:
    """Return a time, the present one by default, as the database takes it."""
    return _CREATED.get_db_prep_save(timezone.now() if value is None else value, connection)


def _row(
    id_: int,
    task_id: str,
    task: str,
    queue: str,
    exchange: str,
    payload: Any,
    priority: int,
    due: float | None,
    ordering_key: str | None,
    attempts: int,
) -> Row:
    message = Message(queue=queue, payload=bytes(payload), priority=priority, due=due)
    outgoing = Outgoing(id=task_id, task=task, message=message, exchange=exchange, ordering_key=ordering_key)
    return Row(id_, attempts, outgoing)
