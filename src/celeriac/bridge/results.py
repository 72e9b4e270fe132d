"""Celery's results in an SQLite file: ``result_backend="sqlite:///results.db"``, without SQLAlchemy.

The file may be the broker's own; the two share neither tables nor a layout number.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, NamedTuple
from uuid import uuid4

from celery import states
from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import TimeoutError as ResultTimeout
from kombu.utils.encoding import bytes_to_str

from celeriac.bridge.result_order import gives_way
from celeriac.brokers.connect import parse_sqlite_url
from celeriac.brokers.sqlite_file import PATIENCE, SqliteFile
from celeriac.core.errors import BrokerUnavailable, ConfigurationError

__all__ = ["SqliteBackend"]

Value = str | bytes | int


class Row(NamedTuple):
    """What is stored at one key."""

    value: Value
    #: Unix seconds, or None for never.
    expires: float | None
    #: The task's state that this is, or None for anything else.
    state: str | None = None


#: Times are Unix seconds; a row past its time counts as absent at once and is deleted later.
TABLE: Final = """CREATE TABLE IF NOT EXISTS celery_results
    (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, expires REAL)"""
INDEX: Final = """CREATE INDEX IF NOT EXISTS celery_results_expires ON celery_results (expires)
    WHERE expires IS NOT NULL"""
GET: Final = "SELECT value FROM celery_results WHERE key = ? AND (expires IS NULL OR expires > ?)"
GET_MANY: Final = (
    "SELECT key, value FROM celery_results"
    " WHERE key IN (SELECT value FROM json_each(?)) AND (expires IS NULL OR expires > ?)"
)
PUT: Final = (
    "INSERT INTO celery_results (key, value, expires) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
#: A task's state: the one that is stored stays if it does not give way.
PUT_STATE: Final = f"{PUT} WHERE expires <= ? OR gives_way(value, ?)"
PUT_NEW: Final = "INSERT OR IGNORE INTO celery_results (key, value, expires) VALUES (?, ?, ?)"
ADD_ONE: Final = (
    "INSERT INTO celery_results (key, value, expires) VALUES (?, 1, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = value + 1"
)
DELETE: Final = "DELETE FROM celery_results WHERE key = ?"
#: All keys that begin with the given one and a slash; "0" is the character after it.
DELETE_BELOW: Final = "DELETE FROM celery_results WHERE key > ? || '/' AND key < ? || '0'"
EXPIRE: Final = "UPDATE celery_results SET expires = ? WHERE key = ?"
SWEEP: Final = (
    "DELETE FROM celery_results WHERE rowid IN (SELECT rowid FROM celery_results WHERE expires <= ? LIMIT ?)"
)

#: Rows written between two sweeps; each sweep deletes up to twice as many, so the file cannot outgrow it.
SWEEP_EVERY: Final = 200
#: Rows that ``cleanup`` deletes in one transaction, so that others are not kept waiting.
CLEANUP_SLICE: Final = 5000
#: Seconds between two looks of a waiting ``get``: at least, at most, and as a share of the time waited.
NAP_FIRST, NAP_LAST, NAP_SHARE = 0.001, 0.05, 0.05


class SqliteBackend(KeyValueStoreBackend):
    """Stores results in one SQLite file, for any number of threads and processes.

    A process that stores many results may hold them back: after :meth:`hold`, what ``set`` is given
    stays in memory, where this process' reads see it, until :meth:`flush` writes all of it in one
    transaction. Holding goes on after a flush. Counting a chord's part, deleting and changing an
    expiry flush first, so nobody sees a count before the result it counts. A process that dies
    loses what it holds: settle no task before ``flush`` has returned.

    Results expire by themselves, which is why beat needs no ``backend_cleanup``; :meth:`cleanup`
    deletes all expired ones at once. Raises
    :class:`~celeriac.core.errors.BrokerUnavailable` for what a later try may mend.
    """

    key_t = bytes_to_str
    supports_native_join = True
    supports_autoexpire = True
    supports_result_compression = True
    supports_failure_expires = True
    implements_incr = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        if not url:
            raise ConfigurationError("result_backend names no file; write sqlite:///results.db")
        address = parse_sqlite_url(url)
        super().__init__(app, url=url, **kwargs)
        # Celery before 5.7 makes one backend for each thread unless told that it may share it.
        self.thread_safe = True
        failure_expires = app.conf.get("result_failure_expires")
        self._failure_expires = (
            self.expires if failure_expires is None else self.prepare_expires(failure_expires)
        )
        self._file = ResultFile(address.path, address.synchronous, self._gives_way)
        self._held: dict[str, Row] | None = None
        self._delivery = threading.local()

    def as_uri(self, include_password: bool = False) -> str:  # noqa: ARG002 - a file has no password
        return str(self.url)

    def __reduce__(self, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url, "expires": self.expires})

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        return isinstance(exc, BrokerUnavailable)

    # -- Keys and values

    def get(self, key: str) -> Value | None:
        return self._file.get([key], self._held).get(key)

    def mget(self, keys: Iterable[str]) -> list[Value | None]:
        wanted = list(keys)
        found = self._file.get(wanted, self._held)
        return [found.get(key) for key in wanted]

    def set(self, key: str, value: Value, expires: float | None = None) -> None:
        self._put(key, Row(value, _moment(self.expires if expires is None else expires)))

    def _put(self, key: str, row: Row) -> None:
        with self._file.lock:
            if self._held is None:
                self._file.put({key: row})
            elif (held := self._held.get(key)) is None or _may_follow(held.state, row.state):
                self._held[key] = row

    def delete(self, key: str) -> None:
        self.flush()
        self._file.delete(key)

    def expire(self, key: str, value: float | None) -> None:
        self.flush()
        self._file.expire(key, _moment(value))

    def incr(self, key: str) -> int:
        self.flush()
        part = getattr(self._delivery, "part", None) or str(uuid4())
        return self._file.count(key, part, _moment(self.expires))

    def hold(self) -> None:
        """What ``set`` is given stays in memory from now on, until the next :meth:`flush`."""
        with self._file.lock:
            self._held = self._held or {}

    def flush(self) -> None:
        """All that was held is stored, in one transaction; if this raises, all of it is still held."""
        with self._file.lock:
            if self._held:
                self._file.put(self._held)
                self._held = {}

    def cleanup(self) -> None:
        """All expired rows are gone."""
        while self._file.sweep(CLEANUP_SLICE) == CLEANUP_SLICE:
            pass

    def _set_with_state(self, key: str, value: Value, state: str) -> None:
        expires = self._failure_expires if state == states.FAILURE else self.expires
        self._put(key, Row(value, _moment(expires), state))

    def _gives_way(self, stored: Value, state: str) -> bool:
        """Whether a task's state may be stored over what is there."""
        try:
            return gives_way(self.decode(stored)["status"], state)
        except Exception:
            return True  # nobody can read what is there, so it is nobody's result

    # -- Chords: each part counts once, however often its task is delivered

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        if request.group and self.get(self._finished_key(request.group)) is not None:
            return  # a part delivered again after the chord's body was sent
        self._delivery.part = f"{request.id}:{getattr(request, 'group_index', None)}"
        try:
            super().on_chord_part_return(request, state, result, **kwargs)
        finally:
            self._delivery.part = None

    def _apply_chord_incr(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        # The same chord may be started again, by a task delivered twice: its body is sent again too.
        self.delete(self._finished_key(header_result_args[0]))
        super()._apply_chord_incr(header_result_args, body, **kwargs)

    def _delete_group(self, group_id: str) -> None:
        if getattr(self._delivery, "part", None):
            self.set(self._finished_key(group_id), 1)
        super()._delete_group(group_id)

    def _finished_key(self, group_id: str) -> str:
        return str(self.get_key_for_chord(group_id, ".finished"))

    # -- Waiting: look again when the file was written, not when half a second has passed

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float | None = 0.5,
        on_interval: Callable[[], Any] | None = None,
        **_: Any,
    ) -> Any:
        self._ensure_not_eager()
        for _look in self._looks(timeout, interval, on_interval):
            meta = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                return meta
        return None

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float | None = 0.5,
        *,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        max_iterations: int | None = None,
        **_: Any,
    ) -> Iterator[tuple[str, Any]]:
        missing = {bytes_to_str(task_id) for task_id in task_ids}
        for task_id in list(missing):
            cached = self._cache.get(task_id)
            if cached and cached["status"] in states.READY_STATES:
                missing.discard(task_id)
                yield task_id, cached
        if not missing:
            return
        for looks, _look in enumerate(self._looks(timeout, interval, on_interval), 1):
            keys = list(missing)
            values = self.mget([self.get_key_for_task(key) for key in keys])
            for task_id, meta in self._mget_to_results(values, keys, states.READY_STATES).items():
                self._cache[task_id] = meta
                missing.discard(task_id)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            if not missing or looks == max_iterations:
                return

    def _looks(
        self, timeout: float | None, interval: float | None, on_interval: Callable[[], Any] | None
    ) -> Iterator[None]:
        """Yield at once and after each change of the file; raise Celery's TimeoutError in the end."""
        started, next_call = time.monotonic(), 0.0
        while True:
            seen = self._file.version()
            yield
            while True:
                waited = time.monotonic() - started
                if timeout is not None and waited >= timeout:
                    raise ResultTimeout("The operation timed out.")
                if on_interval and waited >= next_call:
                    next_call = waited + (interval or 0.5)
                    on_interval()
                nap = min(max(NAP_FIRST, waited * NAP_SHARE), NAP_LAST)
                time.sleep(nap if timeout is None else min(nap, timeout - waited))
                if self._file.version() != seen:
                    break


class ResultFile(SqliteFile):
    """The table of results: each call is one transaction and may come from any thread."""

    _unswept = 0

    def __init__(self, path: Path, synchronous: str, gives_way: Callable[[Value, str], bool]) -> None:
        """``gives_way`` tells of a stored value whether a task's state may be stored over it."""
        super().__init__(path, synchronous)
        self._gives_way = gives_way

    def get(self, keys: list[str], held: Mapping[str, Row] | None) -> dict[str, Value]:
        """Return the values of those keys that are there and not expired; what is held comes first."""
        with self.lock:
            found = {key: held[key].value for key in keys if key in held} if held else {}
            missing = [key for key in keys if key not in found]
            if len(missing) == 1:
                with self.reading() as db:
                    row = db.execute(GET, (missing[0], time.time())).fetchone()
                if row is not None:
                    found[missing[0]] = row[0]
            elif missing:
                with self.reading() as db:
                    found.update(db.execute(GET_MANY, (json.dumps(missing), time.time())))
        return found

    def put(self, rows: Mapping[str, Row]) -> None:
        """Store these rows, but no state of a task over one that does not give way to it."""
        now = time.time()
        with self.writing() as db:
            db.executemany(PUT, ((key, *row[:2]) for key, row in rows.items() if row.state is None))
            db.executemany(
                PUT_STATE,
                ((key, *row[:2], now, row.state) for key, row in rows.items() if row.state is not None),
            )
            self._unswept += len(rows)
            if self._unswept >= SWEEP_EVERY:
                db.execute(SWEEP, (time.time(), 2 * self._unswept))
                self._unswept = 0

    def delete(self, key: str) -> None:
        """The key is gone, and the parts counted below it."""
        with self.writing() as db:
            db.execute(DELETE, (key,))
            db.execute(DELETE_BELOW, (key, key))

    def expire(self, key: str, moment: float | None) -> None:
        with self.writing() as db:
            db.execute(EXPIRE, (moment, key))

    def count(self, key: str, part: str, moment: float | None) -> int:
        """Return how many different parts were counted at this key, this one among them."""
        with self.writing() as db:
            if db.execute(PUT_NEW, (f"{key}/{part}", "", moment)).rowcount:
                db.execute(ADD_ONE, (key, moment))
            return int(db.execute("SELECT value FROM celery_results WHERE key = ?", (key,)).fetchone()[0])

    def sweep(self, limit: int) -> int:
        """Delete up to ``limit`` expired rows; return how many."""
        with self.writing() as db:
            return int(db.execute(SWEEP, (time.time(), limit)).rowcount)

    def _open(self) -> Connection:
        db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            db.execute(TABLE)
            db.execute(INDEX)
            db.create_function("gives_way", 2, self._gives_way)
        except BaseException:  # the next use opens the file anew
            db.close()
            raise
        return db


def _may_follow(held: str | None, state: str | None) -> bool:
    """Whether a row of one state may take the place of a held one; what is no task's state always may."""
    return held is None or state is None or gives_way(held, state)


def _moment(seconds: float | None) -> float | None:
    """Return the Unix time that many seconds from now; None, for never, if there are none."""
    return time.time() + seconds if seconds else None
