"""The SQL of one database's outbox, written once: a call in a transaction waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from celeriac.django.models import DeadOutboxMessage, OutboxMessage

__all__ = ["READ", "Statements"]

#: What a message consists of, in the order in which it is written.
MESSAGE: Final = (
    *("task_id", "task", "queue", "exchange", "payload", "priority", "due", "ordering_key", "created"),
)
WRITTEN: Final = (*MESSAGE, "held_until")
#: What a new row has besides, as SQL.
_UNTRIED: Final = {"attempts": "0", "error": "''"}
#: What is read of a row.
READ: Final = ("id", *MESSAGE[:-1], "attempts")
#: What the transaction of a claim begins with. Deletions need not wait for the disk: after a crash of the
#: server some rows are there again. What PostgreSQL knows of a table that is mostly empty would make it
#: sort all of a backlog for each batch, instead of going along the primary key.
_PREPARE: Final = {
    "postgresql": "SET LOCAL synchronous_commit TO OFF; SET LOCAL enable_sort TO OFF; "
    "SET LOCAL enable_seqscan TO OFF; SET LOCAL enable_bitmapscan TO OFF",
}
_HAVE_ARRAYS: Final = frozenset({"postgresql"})


class Statements:
    """Statements for one kind of database, with ``%s`` for values."""

    def __init__(self, connection: Any) -> None:
        """What there is to be known is asked now, as the connection belongs to one thread."""
        features = connection.features
        self._quote = connection.ops.quote_name
        self._ops = connection.ops
        self.table: str = self._quote(OutboxMessage._meta.db_table)
        self.prepare = _PREPARE.get(connection.vendor)
        #: Whether a list of values is one value: the statement is then as short as ever.
        self._arrays = connection.vendor in _HAVE_ARRAYS
        #: Whether an insert of several rows tells their ids.
        self.returns_ids = bool(features.can_return_rows_from_bulk_insert)
        #: Whether rows that somebody else has locked can be passed over.
        self.skips_locked = bool(features.has_select_for_update_skip_locked)
        #: How many rows one insert may have.
        self.most_rows = min(500, (features.max_query_params or 65_535) // len(WRITTEN))
        self._insert_one = self._insert(1)
        self._insert_one_message = self._insert_numbered(1)

    def insert(self, rows: int) -> str:
        """Return the insert of so many rows."""
        return self._insert_one if rows == 1 else self._insert(rows)

    def insert_message(self, rows: int) -> bytes:
        """Return the insert of so many rows that nobody holds, as PostgreSQL numbers its parameters."""
        return self._insert_one_message if rows == 1 else self._insert_numbered(rows)

    def _insert_numbered(self, rows: int) -> bytes:
        width, untried = len(MESSAGE), ", ".join(_UNTRIED.values())
        starts = range(1, rows * width + 1, width)
        marks = [", ".join(f"${number}" for number in range(start, start + width)) for start in starts]
        return (
            f"INSERT INTO {self.table} ({self._names((*MESSAGE, *_UNTRIED))}) "  # noqa: S608
            f"VALUES {', '.join(f'({row}, {untried})' for row in marks)} RETURNING {self._quote('id')}"
        ).encode()

    def _insert(self, rows: int) -> str:
        row = f"({self._marks(len(WRITTEN))}, {', '.join(_UNTRIED.values())})"
        returning = f" RETURNING {self._quote('id')}" if self.returns_ids else ""
        return (
            f"INSERT INTO {self.table} ({self._names((*WRITTEN, *_UNTRIED))}) "  # noqa: S608
            f"VALUES {', '.join([row] * rows)}{returning}"
        )

    def next_rows(self, keys: int) -> str:
        """Return the selection of rows above an id that nobody holds, but for so many ordering keys."""
        key = self._quote("ordering_key")
        others = f" AND ({key} IS NULL OR NOT {self._is_among(key, keys)})" if keys else ""
        held = self._quote("held_until")
        return self._select(
            f"{self._quote('id')} > %s AND ({held} IS NULL OR {held} <= %s){others}", limited=True
        )

    def named_rows(self, ids: int) -> str:
        """Return the selection of so many rows by their ids; without locks, of those held beyond a time."""
        held = "" if self.skips_locked else f" AND {self._quote('held_until')} > %s"
        return self._select(f"{self._is_among(self._quote('id'), ids)}{held}", limited=False)

    def earlier(self, keys: int, ids: int) -> str:
        """Return the selection of the first row of each key, apart from those with some ids."""
        key, id_ = self._quote("ordering_key"), self._quote("id")
        return (
            f"SELECT {key}, MIN({id_}) FROM {self.table} "  # noqa: S608
            f"WHERE {self._is_among(key, keys)} AND {id_} < %s AND NOT {self._is_among(id_, ids)} "
            f"GROUP BY {key}"
        )

    def delete(self, ids: int) -> str:
        """Return the deletion of so many rows."""
        return f"DELETE FROM {self.table} WHERE {self._is_among(self._quote('id'), ids)}"  # noqa: S608

    def listed(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return several values as parameters of the statements that take so many."""
        return [list(values)] if self._arrays else values

    def _is_among(self, name: str, values: int) -> str:
        return f"{name} = ANY(%s)" if self._arrays else f"{name} IN ({self._marks(values)})"

    @cached_property
    def refuse(self) -> str:
        """Note how often a row was refused, why, and until when it waits."""
        sets = ", ".join(f"{self._quote(name)} = %s" for name in ("attempts", "error", "held_until"))
        return f"UPDATE {self.table} SET {sets} WHERE {self._quote('id')} = %s"  # noqa: S608

    @cached_property
    def bury(self) -> str:
        """Copy a row to the dead ones, with its attempts, its error, and the time."""
        dead = self._quote(DeadOutboxMessage._meta.db_table)
        return (
            f"INSERT INTO {dead} ({self._names((*MESSAGE, 'attempts', 'error', 'died'))}) "  # noqa: S608
            f"SELECT {self._names(MESSAGE)}, %s, %s, %s FROM {self.table} WHERE {self._quote('id')} = %s"
        )

    def _select(self, where: str, *, limited: bool) -> str:
        lock = f" {self._ops.for_update_sql(skip_locked=True)}" if self.skips_locked else ""
        return (
            f"SELECT {self._names(READ)} FROM {self.table} WHERE {where} "  # noqa: S608
            f"ORDER BY {self._quote('id')}{' LIMIT %s' if limited else ''}{lock}"
        )

    def _names(self, names: Sequence[str]) -> str:
        return ", ".join(map(self._quote, names))

    @staticmethod
    def _marks(count: int) -> str:
        return ", ".join(["%s"] * count)
