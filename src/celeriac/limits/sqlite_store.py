"""Locks and gates in an SQLite file, for the processes of one machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

from celeriac.brokers.sqlite_file import SqliteFile, read_sections
from celeriac.limits.gate import CELLS, FORGET_AFTER, Facts, Gate, Verdict, cell_leaves, cell_of, judge, learn
from celeriac.limits.store import Lock

__all__ = ["SqliteStore"]

SQL: Final = read_sections(files("celeriac.limits").joinpath("sqlite_store.sql").read_text(encoding="utf-8"))
#: More than any place in a line.
_BEHIND_ALL: Final = 1 << 62


class SqliteStore:
    """One file, which is not the broker's: a write to that one would wake every idle worker."""

    def __init__(self, path: Path, synchronous: str = "NORMAL") -> None:
        self._file = SqliteFile(path, synchronous, SQL)

    def lock(self, locks: Sequence[Lock], now: float | None = None) -> list[str]:
        now = time.time() if now is None else now
        holders = []
        with self._file.writing() as db:
            db.execute(SQL["forget_locks"], (now,))
            for lock in locks:
                holders.append(_one(db, "holder", lock.key) or lock.holder)
                if holders[-1] == lock.holder:
                    db.execute(SQL["lock"], (lock.key, lock.holder, now + lock.seconds))
        return holders

    def extend(self, locks: Sequence[Lock], now: float | None = None) -> list[bool]:
        now = time.time() if now is None else now
        with self._file.writing() as db:
            rows = [(now + lock.seconds, lock.key, lock.holder, now) for lock in locks]
            return [db.execute(SQL["extend"], row).rowcount > 0 for row in rows]

    def unlock(self, locks: Sequence[Lock]) -> list[bool]:
        with self._file.writing() as db:
            return [db.execute(SQL["unlock"], (lock.key, lock.holder)).rowcount > 0 for lock in locks]

    def enter(
        self, gates: Sequence[Gate], task_id: str, *, chance: float, now: float | None = None
    ) -> float | None:
        with self._file.writing() as db:
            now = time.time() if now is None else now
            verdicts = [judge(gate, _facts(db, gate, task_id, now), now, chance) for gate in gates]
            if all(verdict.passes for verdict in verdicts):
                for gate in gates:
                    _pass(db, gate, task_id, now)
                return None
            due = max(verdict.due for verdict in verdicts)
            for gate, verdict in zip(gates, verdicts, strict=True):
                _wait(db, gate, verdict, task_id, due)
            return due

    def renew(self, keys: Sequence[str], task_id: str, seconds: float, now: float | None = None) -> None:
        now = time.time() if now is None else now
        with self._file.writing() as db:
            db.executemany(SQL["hold"], [(key, task_id, now, now + seconds) for key in keys])

    def leave(self, keys: Sequence[str], task_id: str, now: float | None = None) -> None:
        now = time.time() if now is None else now
        with self._file.writing() as db:
            for key in keys:
                since = _one(db, "since", key, task_id)
                if since is not None:
                    typical = learn(_one(db, "typical", key), max(now - since, 0.0))
                    db.execute(SQL["learn"], (key, typical))
                    db.execute(SQL["leave"], (key, task_id))

    def close(self) -> None:
        self._file.close()


def _facts(db: Connection, gate: Gate, task_id: str, now: float) -> Facts:
    db.execute(SQL["forget_line"], (gate.key, now - FORGET_AFTER))
    place = _one(db, "place", gate.key, task_id)
    next_free, holds = None, False
    if gate.window is not None:
        db.execute(SQL["forget_cells"], (gate.key, cell_of(now, gate.window) - CELLS))
        used, oldest = db.execute(SQL["used_cells"], (gate.key,)).fetchone()
        next_free = None if oldest is None else cell_leaves(oldest, gate.window)
    else:
        db.execute(SQL["forget_held"], (gate.key, now))
        places, own = db.execute(SQL["used_places"], (task_id, gate.key)).fetchone()
        used, holds = places - own, bool(own)
    return Facts(
        used=used,
        next_free=next_free,
        typical=_one(db, "typical", gate.key),
        waits=place is not None or holds,
        rank=_one(db, "before", gate.key, _BEHIND_ALL if place is None else place),
        overdue=_one(db, "overdue", gate.key, now, task_id),
    )


def _pass(db: Connection, gate: Gate, task_id: str, now: float) -> None:
    db.execute(SQL["leave_line"], (gate.key, task_id))
    if gate.window is not None:
        db.execute(SQL["count_start"], (gate.key, cell_of(now, gate.window)))
    else:
        db.execute(SQL["hold"], (gate.key, task_id, now, now + gate.lease))


def _wait(db: Connection, gate: Gate, verdict: Verdict, task_id: str, due: float) -> None:
    known = db.execute(SQL["wait_on"], (due, gate.key, task_id)).rowcount
    if not known and not verdict.passes:
        db.execute(SQL["line_up"], (gate.key, task_id, due, gate.key))


def _one(db: Connection, statement: str, *values: object) -> Any:
    """Return the only value of the only row, or None if there is none."""
    row = db.execute(SQL[statement], values).fetchone()
    return None if row is None else row[0]
