"""New rows handed to PostgreSQL as libpq takes them.

psycopg's cursor takes as long over a statement as the server does; a call in a transaction waits for both.
Where the project lets psycopg prepare statements (``OPTIONS["prepare_threshold"]``), this one is too.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from time import time_ns
from typing import Any, Final
from uuid import uuid4
from weakref import WeakSet

from celeriac.core.outbox import Outgoing
from celeriac.django.statements import Statements

try:
    import psycopg
    from psycopg import generators, pq
    from psycopg.errors import error_from_result
except ImportError:  # another driver, or none
    psycopg = None  # type: ignore[assignment]

__all__ = ["PostgresInsert", "can_insert"]

_UTF8: Final = (b"UTF8", b"utf8", b"utf-8", b"UTF-8")
#: Types of the parameters, in the order of ``statements.MESSAGE``, as every PostgreSQL numbers them.
_TEXT, _BYTES, _SMALL, _FLOAT, _MOMENT = 25, 17, 21, 701, 1184
_TYPES: Final = (_TEXT, _TEXT, _TEXT, _TEXT, _BYTES, _SMALL, _FLOAT, _TEXT, _MOMENT)
_BINARY: Final = 1
_pack_small: Final = Struct("!h").pack
_pack_float: Final = Struct("!d").pack
_pack_moment: Final = Struct("!q").pack
#: Where PostgreSQL's time begins, in microseconds of Unix time.
_EPOCH: Final = 946_684_800_000_000


def can_insert(connection: Any) -> bool:
    """Whether the rows can go this way: with psycopg 3, inside a transaction that has begun.

    Not if somebody wants to know of each statement.
    """
    raw = connection.connection
    if psycopg is None or not isinstance(raw, psycopg.Connection):
        return False
    libpq = raw.pgconn
    return bool(
        libpq.transaction_status == pq.TransactionStatus.INTRANS
        and libpq.pipeline_status == pq.PipelineStatus.OFF
        and libpq.parameter_status(b"client_encoding") in _UTF8
        and not connection.execute_wrappers
        and not connection.queries_logged
    )


class PostgresInsert:
    """Writes rows in an open transaction, on any connection."""

    def __init__(self) -> None:
        #: What the insert of one row is called on the server; others may have prepared theirs there.
        self._name = f"celeriac_outbox_{uuid4().hex}".encode()
        #: Connections whose server knows it: only where the project says that they last.
        self._prepared: WeakSet[Any] = WeakSet()

    def insert(self, connection: Any, statements: Statements, outgoing: Sequence[Outgoing]) -> list[int]:
        """Write a row for each message in the open transaction; return their ids."""
        connection.validate_no_broken_transaction()
        now = _pack_moment(time_ns() // 1000 - _EPOCH)
        values = [value for one in outgoing for value in _values(one, now)]
        rows, raw = len(outgoing), connection.connection
        with connection.wrap_database_errors, raw.lock:
            if rows == 1 and raw.prepare_threshold is not None:
                result = self._insert_prepared(raw, statements, values)
            else:
                raw.pgconn.send_query_params(
                    statements.insert_message(rows), values, _TYPES * rows, (_BINARY,) * len(values), _BINARY
                )
                result = _answer(raw, pq.ExecStatus.TUPLES_OK)
        return [int.from_bytes(result.get_value(row, 0), "big") for row in range(rows)]

    def _insert_prepared(self, raw: Any, statements: Statements, values: Sequence[bytes | None]) -> Any:
        """Write one row; the server knows the statement from then on, whatever becomes of the transaction."""
        if raw not in self._prepared:
            raw.pgconn.send_prepare(self._name, statements.insert_message(1), _TYPES)
            _answer(raw, pq.ExecStatus.COMMAND_OK)
            self._prepared.add(raw)
        try:
            raw.pgconn.send_query_prepared(self._name, values, (_BINARY,) * len(values), _BINARY)
            return _answer(raw, pq.ExecStatus.TUPLES_OK)
        except psycopg.errors.InvalidSqlStatementName:  # somebody has discarded it: the next call prepares it
            self._prepared.discard(raw)
            raise


def _answer(raw: Any, expected: Any) -> Any:
    """Return the server's answer to what was sent; raise psycopg's error if it is not as expected."""
    [result] = raw.wait(generators.execute(raw.pgconn))
    if result.status != expected:
        raise error_from_result(result)
    return result


def _values(one: Outgoing, now: bytes) -> tuple[bytes | None, ...]:
    message, key = one.message, one.ordering_key
    return (
        one.id.encode(),
        one.task.encode(),
        message.queue.encode(),
        one.exchange.encode(),
        message.payload,
        _pack_small(message.priority),
        None if message.due is None else _pack_float(message.due),
        None if key is None else key.encode(),
        now,
    )
