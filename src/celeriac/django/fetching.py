"""Reads many rows with long values, in the form in which the server has them where the driver can."""

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

    Django has psycopg send and receive text, in which bytes are twice as long, and have to be read.
    """
    with connection.cursor() as cursor:
        raw = connection.connection
        if psycopg is None or not isinstance(raw, psycopg.Connection):
            cursor.execute(statement, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
        with connection.wrap_database_errors, psycopg.Cursor(raw) as binary:
            binary.execute(statement.encode(), values, binary=True)
            return binary.fetchall()
