"""New rows handed to PostgreSQL as libpq takes them.

psycopg's cursor takes as long over a statement as the server does; a call in a transaction waits for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from time import time_ns
from typing import Any, Final

from celeriac.core.outbox import Outgoing
from celeriac.django.statements import Statements

try:
    import psycopg
    from psycopg import generators, pq
    from psycopg.errors import error_from_result
except ImportError:  # another driver, or none
    psycopg = None  # type: ignore[assignment]

__all__ = ["can_insert", "insert"]

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


def insert(connection: Any, statements: Statements, outgoing: Sequence[Outgoing]) -> list[int]:
    """Write a row for each message in the open transaction; return their ids."""
    connection.validate_no_broken_transaction()
    now = _pack_moment(time_ns() // 1000 - _EPOCH)
    values = [value for one in outgoing for value in _values(one, now)]
    rows, raw = len(outgoing), connection.connection
    with connection.wrap_database_errors, raw.lock:
        raw.pgconn.send_query_params(
            statements.insert_message(rows), values, _TYPES * rows, (_BINARY,) * len(values), _BINARY
        )
        [result] = raw.wait(generators.execute(raw.pgconn))
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise error_from_result(result)
    return [int.from_bytes(result.get_value(row, 0), "big") for row in range(rows)]


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
