"""Statements of the outbox that return rows, past what Django does for any statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    import psycopg
except ImportError:  # another driver, or none
    psycopg = None  # type: ignore[assignment]

__all__ = ["fetch_all"]


def fetch_all(connection: Any, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return all rows of the statement, bytes as ``bytes`` or a ``memoryview``.

    Django has psycopg write the values into the statement, and read text, in which bytes are twice as long.
    Here PostgreSQL gets and gives them as they are, unless somebody wants to know of each statement.
    """
    connection.ensure_connection()
    raw = connection.connection
    watched = connection.queries_logged or connection.execute_wrappers
    if watched or psycopg is None or not isinstance(raw, psycopg.Connection):
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors, psycopg.Cursor(raw) as direct:
        direct.execute(statement.encode(), values, binary=True)
        return direct.fetchall()
