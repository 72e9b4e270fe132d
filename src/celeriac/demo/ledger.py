"""What really happened, read from the application's database: neither worker nor broker is asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Counts", "Figures", "Kill", "Ledger"]


class Counts(msgspec.Struct, frozen=True):
    """How far the run is."""

    committed: int = 0
    rolled_back: int = 0
    shipped: int = 0

    @property
    def imported(self) -> int:
        """How many orders the import has come to."""
        return self.committed + self.rolled_back


class Kill(msgspec.Struct, frozen=True):
    """When processes were killed (Unix seconds), and who lived until then."""

    at: float
    pids: frozenset[int]
    #: The last call that a killed producer had committed and not sent; None: no producer was killed.
    unsent: int | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the orders."""

    committed: int
    rolled_back: int
    tasks_run: int
    shipments: int
    #: Committed orders without a shipment.
    lost: int
    #: Shipments beyond the first of an order.
    repeated: int
    #: Orders that tasks were run for although they do not exist.
    orphans: int
    #: Tasks started per second, from the first to the last.
    tasks_per_second: float

    @property
    def faultless(self) -> bool:
        """Whether every committed order was shipped once, and nothing else was."""
        return self.lost == self.repeated == self.orphans == 0 and self.shipments == self.committed


class Ledger:
    """Reads the database of the logistics project, while it is written or afterwards."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=20)

    def close(self) -> None:
        self._connection.close()

    def counts(self) -> Counts:
        """Return how far the run is."""
        return Counts(
            committed=self._number("SELECT count(*) FROM orders_order"),
            rolled_back=self._number("SELECT count(*) FROM orders_ledgerentry WHERE what = 'rolled back'"),
            shipped=self._number("SELECT count(*) FROM orders_shipment"),
        )

    def unsent(self, up_to: int | None = None) -> list[int]:
        """Return the ids of committed calls that are still in the outbox, in their order."""
        rows = self._connection.execute(
            "SELECT id FROM celeriac_outboxmessage WHERE id <= coalesce(?, id) ORDER BY id", [up_to]
        )
        return [number for (number,) in rows]

    def last_starter(self, pids: frozenset[int]) -> int | None:
        """Return which of the processes was the last to start a task, None if none ever did."""
        rows = self._connection.execute(
            "SELECT pid FROM orders_ledgerentry WHERE what = 'started' ORDER BY id DESC LIMIT 1000"
        )
        return next((pid for (pid,) in rows if pid in pids), None)

    def recovery(self, kill: Kill) -> float | None:
        """Return the seconds from the kill until all was well again, None if it never was.

        All is well when a process that did not exist before has started a task, and every order
        that was started and not shipped at the kill is shipped.
        """
        at = _stored(kill.at)
        newcomers = self._connection.execute(
            "SELECT pid, at FROM orders_ledgerentry WHERE what = 'started' AND at > ? ORDER BY at", [at]
        )
        first = next((started for pid, started in newcomers if pid not in kill.pids), None)
        interrupted = self._connection.execute(_SHIPPED_OF_INTERRUPTED, {"kill": at}).fetchall()
        moments = [first, *(shipped for (shipped,) in interrupted)]
        if None in moments:
            return None
        return max(_unix(moment) for moment in moments) - kill.at

    def figures(self) -> Figures:
        """Return what became of the orders."""
        counts = self.counts()
        return Figures(
            committed=counts.committed,
            rolled_back=counts.rolled_back,
            tasks_run=self._number(_TASKS_RUN),
            shipments=counts.shipped,
            lost=self._number(_LOST),
            repeated=self._number(_REPEATED),
            orphans=self._number(_ORPHANS),
            tasks_per_second=self._tasks_per_second(),
        )

    def _tasks_per_second(self) -> float:
        count, first, last = self._connection.execute(
            "SELECT count(*), min(at), max(at) FROM orders_ledgerentry WHERE what = 'started'"
        ).fetchone()
        seconds = _unix(last) - _unix(first) if count > 1 else 0.0
        return round(count / seconds, 1) if seconds else 0.0

    def _number(self, query: str, parameters: Sequence[Any] = ()) -> int:
        return int(self._connection.execute(query, parameters).fetchone()[0])


_TASKS_RUN = "SELECT count(*) FROM orders_ledgerentry WHERE what = 'started'"

_LOST = """
    SELECT count(*) FROM orders_order
    WHERE id NOT IN (SELECT order_id FROM orders_shipment)
"""

# The database allows one shipment an order; what it should forbid is counted all the same.
_REPEATED = """
    SELECT (
        SELECT coalesce(sum(n - 1), 0) FROM (
            SELECT count(*) AS n FROM orders_ledgerentry WHERE what = 'shipped' GROUP BY order_id
        )
    ) + (
        SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM orders_shipment GROUP BY order_id)
    )
"""

_ORPHANS = """
    SELECT count(*) FROM (
        SELECT order_id FROM orders_ledgerentry WHERE what <> 'rolled back'
        UNION SELECT order_id FROM orders_shipment
    )
    WHERE order_id NOT IN (SELECT id FROM orders_order)
"""

_SHIPPED_OF_INTERRUPTED = """
    SELECT shipped FROM (
        SELECT
            min(CASE what WHEN 'started' THEN at END) AS started,
            min(CASE what WHEN 'shipped' THEN at END) AS shipped
        FROM orders_ledgerentry GROUP BY order_id
    )
    WHERE started <= :kill AND (shipped IS NULL OR shipped > :kill)
"""


def _stored(moment: float) -> str:
    """The moment (Unix seconds) as Django writes it to SQLite, so that texts compare like times."""
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _unix(stored: str) -> float:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC).timestamp()
