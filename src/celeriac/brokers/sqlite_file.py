"""The SQLite file below SqliteBroker: its connection, its transactions, its errors."""

from __future__ import annotations

import os
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from sqlite3 import Connection
from threading import RLock
from typing import Any, Final, TypeVar

from celeriac.brokers.sqlite_watch import WriteWatch
from celeriac.core.errors import BrokerError, BrokerUnavailable, ConfigurationError

__all__ = ["SQL", "SqliteFile", "read_sections"]

#: The layout this code reads and writes, as ``PRAGMA user_version``.
VERSION: Final = 1
#: Seconds a call waits for other processes to finish theirs.
PATIENCE: Final = 10.0
#: Seconds between two tries of such a call: at first, and at last.
PAUSE_FIRST: Final = 0.0005
PAUSE_LAST: Final = 0.005
#: What a user can do about the errors after which the same call may succeed later.
REMEDIES: Final = {
    sqlite3.SQLITE_BUSY: "find the process that keeps it locked",
    sqlite3.SQLITE_LOCKED: "find the process that keeps it locked",
    sqlite3.SQLITE_PROTOCOL: "find the process that keeps it locked",
    sqlite3.SQLITE_NOMEM: "free some memory",
    sqlite3.SQLITE_READONLY: "let this user write the file and its folder",
    sqlite3.SQLITE_IOERR: "check the disk",
    sqlite3.SQLITE_FULL: "free some disk space",
    sqlite3.SQLITE_CANTOPEN: "see that its folder exists and this user may write there",
}

Result = TypeVar("Result")


def read_sections(text: str) -> dict[str, str]:
    """Return the text below each ``-- name:`` line, by name."""
    named = (section.partition("\n") for section in text.split("-- name: ")[1:])
    return {name.strip(): body.strip() for name, _, body in named}


SQL: Final = read_sections(files("celeriac.brokers").joinpath("sqlite.sql").read_text(encoding="utf-8"))


class SqliteFile:
    """One connection to the file: opened when first used, closed before a fork, errors translated."""

    def __init__(self, path: Path, synchronous: str, sql: Mapping[str, str] = SQL) -> None:
        """``sql`` holds the statements by name; ``schema`` makes the tables in a new file."""
        if synchronous not in ("OFF", "NORMAL", "FULL", "EXTRA"):
            raise ConfigurationError(f"synchronous is {synchronous!r}; use NORMAL or FULL")
        if str(path) == ":memory:":
            raise ConfigurationError("SqliteBroker needs a file; use MemoryBroker to keep messages in memory")
        self.path = path.absolute()
        self._synchronous = synchronous
        self._sql = sql
        self.lock = RLock()
        self._db: Connection | None = None
        self._pid = 0
        self._openings = self._writes = 0
        #: Made when first asked for, and again with each new connection.
        self._watch: tuple[Connection, WriteWatch] | None = None
        _stay_away_from_forks(self)

    def read(self, name: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, which sees all that was written before it."""
        with self.reading() as db:
            return _patiently(lambda: db.execute(self._sql[name], values).fetchall())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Hold the connection, alone among the threads; SQLite's errors become ours."""
        with self.lock:
            try:
                if self._db is None:
                    self._db, self._pid = _patiently(self._open), os.getpid()
                    self._openings += 1
                elif self._pid != os.getpid():
                    raise BrokerError(f"{self.path} was open when this process was forked; close it before")
                yield self._db
            except sqlite3.Error as error:
                raise self._explained(error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Run the block in one transaction, alone among all processes; undone if it raises."""
        with self.reading() as db:
            try:
                _patiently(lambda: db.execute("BEGIN IMMEDIATE"))
                yield db
                db.execute("COMMIT")
            except BaseException:  # the file is as it was before the block
                db.rollback()
                raise
            self._writes += 1

    def version(self) -> tuple[int, int, int]:
        """Return a value that is another one after each write to the file by whomever."""
        # data_version tells one connection what others wrote, hence the counts of ours.
        ((data_version,),) = self.read("data_version")
        return data_version, self._writes, self._openings

    def watch(self) -> WriteWatch:
        """Return what tells of writes to the file, those of this connection included."""
        with self.reading() as db:
            if self._watch is None or self._watch[0] is not db:
                self._unwatch()
                # SQLite puts the log beside the file that a link points to, and only deletes it
                # when nobody has the file open.
                self._watch = db, WriteWatch(Path(f"{self.path.resolve()}-wal"))
            return self._watch[1]

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self.lock:
            self.disconnect()
            self._unwatch()

    def disconnect(self) -> None:
        """Close the connection; whoever is waiting for writes goes on waiting."""
        with self.lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
                self._db = None

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch[1].close()
            self._watch = None

    def _open(self) -> Connection:
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(self._sql["schema"])
            elif version != VERSION:
                raise BrokerError(f"{self.path} has layout {version}, not {VERSION}; upgrade celeriac")
        except BaseException:  # the next use opens the file anew
            db.close()
            raise
        return db

    def _explained(self, error: sqlite3.Error) -> BrokerError:
        remedy = REMEDIES.get(_code(error))
        if remedy is None:
            return BrokerError(f"{self.path}: {error}")
        return BrokerUnavailable(f"{self.path}: {error}; {remedy}")


def _patiently(call: Callable[[], Result]) -> Result:
    """Call until the file is not locked, for at most :data:`PATIENCE` seconds.

    SQLite's own busy handler does not wait while a file is opened, and elsewhere its pauses grow to
    a tenth of a second, in which a busy neighbour takes its turn again and again.
    """
    deadline = time.monotonic() + PATIENCE
    pause = PAUSE_FIRST
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.5, 1) * pause)
        pause = min(pause * 1.5, PAUSE_LAST)


def _stay_away_from_forks(file: SqliteFile) -> None:
    """Close the file before each later fork of this process.

    SQLite's locks belong to the process that took them. A child that inherits an open connection
    believes in locks it does not hold, on its own later connections too, and another process may
    then delete the write-ahead log under its hands (sqlite.org/howtocorrupt.html, 2.6).
    """
    alive = weakref.ref(file)

    def before() -> None:
        if this := alive():
            this.lock.acquire()
            this.disconnect()

    def after() -> None:
        if this := alive():
            this.lock.release()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, or -1 for errors of the Python module."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF
