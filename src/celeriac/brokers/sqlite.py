"""Messages in one SQLite file: no server, several processes at once, kept over crashes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from celeriac.brokers.burial import cause_of_death, letter
from celeriac.brokers.sqlite_board import SqliteBoard
from celeriac.brokers.sqlite_file import SQL, SqliteFile
from celeriac.core.broker import Features, Promoted, QueueStats
from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message

__all__ = ["SqliteBroker"]


class SqliteBroker:
    """Keeps messages in the SQLite file ``path``, which it creates when it is first used.

    ``synchronous`` is SQLite's pragma: with ``NORMAL`` a crash of any process loses nothing, but a
    power cut may take back the last moments; ``FULL`` waits for the disk at every call.
    """

    features = Features(persistent=True, shared=True, native_delay=True, priorities=True, fan_out=True)

    def __init__(self, path: str | Path, *, synchronous: str = "NORMAL") -> None:
        self._file = SqliteFile(Path(path), synchronous)
        self._board = SqliteBoard(self._file.path)

    def send(self, messages: Sequence[Message]) -> None:
        now = time.time()
        rows = [
            (m.queue, m.priority, m.payload, "ready" if m.due is None or m.due <= now else "delayed", m.due)
            for m in messages
        ]
        with self._file.writing() as db:
            db.executemany(SQL["insert"], rows)

    def claim(
        self,
        queues: Sequence[str],
        n: int,
        *,
        owner: str,
        lease_for: float,
        ack: Sequence[Lease] = (),
    ) -> Claimed:
        now = time.time()
        names = json.dumps(list(dict.fromkeys(queues)))
        with self._file.writing() as db:
            lost = _settle(db, "ack", (((), lease) for lease in ack))
            db.execute(SQL["enter_owner"], (owner, now + lease_for))
            db.execute(SQL["touch"], (now, names))
            _promote(db, now, 1000)
            leases = _up_to_a_suspect(db.execute(SQL["next_ready"], (names, n, n)), owner)
            db.executemany(SQL["lease"], [(owner, _row(lease)[0]) for lease in leases])
        return Claimed(leases, lost)

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        names = json.dumps(list(queues))
        wake = deadline = time.monotonic() + timeout
        seen = None
        while True:
            watch = self._file.watch()
            version = self._file.version()
            if version != seen:
                seen = version
                if self._file.read("any_ready", (names,)) == [(1,)]:
                    return
                wake = min(deadline, time.monotonic() + self._seconds_to_next_due())
            left = wake - time.monotonic()
            if left <= 0:
                return
            watch.wait(left)

    def _seconds_to_next_due(self) -> float:
        ((next_due,),) = self._file.read("next_due")
        return float("inf") if next_due is None else next_due - time.time()

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        deadline = time.time() + lease_for
        with self._file.writing() as db:
            db.executemany(SQL["renew"], [(deadline, owner) for owner in owners])

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        with self._file.writing() as db:
            return _settle(db, "ack", (((), lease) for lease in leases))

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        with self._file.writing() as db:
            return _settle(db, "release", (((), lease) for lease in leases))

    def delay(self, leases: Sequence[tuple[Lease, float]]) -> Sequence[Lease]:
        with self._file.writing() as db:
            return _settle(db, "delay", (((due,), lease) for lease, due in leases))

    def bury(self, leases: Sequence[tuple[Lease, str]]) -> Sequence[Lease]:
        now = time.time()
        with self._file.writing() as db:
            return _settle(db, "bury", (((reason, now), lease) for lease, reason in leases))

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        now = time.time() if now is None else now
        with self._file.writing() as db:
            _forget_expired(db, now)
            count = _promote(db, now, limit)
            return Promoted(count, db.execute(SQL["next_due"]).fetchone()[0])

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        now = time.time() if now is None else now
        with self._file.writing() as db:
            owners = db.execute(SQL["overdue_owners"], (now,)).fetchall()
            reaped = [_take_back(db, owner, None, max_deliveries) for (owner,) in owners]
        return Reaped(
            sum(each.returned for each in reaped), [dead for each in reaped for dead in each.buried]
        )

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        with self._file.writing() as db:
            return _take_back(db, eviction.owner, eviction, max_deliveries)

    def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        counts: dict[str, dict[str, int]] = {queue: {} for queue in queues}
        for state, queue, count in self._file.read("stats", (json.dumps(list(counts)),)):
            counts[queue][state] = count
        return {queue: QueueStats(**by_state) for queue, by_state in counts.items()}

    def oldest(self, queues: Sequence[str]) -> Sequence[Message]:
        rows = self._file.read("oldest", (json.dumps(list(queues)),))
        return [Message(queue=queue, payload=payload, priority=priority) for queue, priority, payload in rows]

    def post(self, name: str, text: bytes, keep_for: float) -> None:
        self._board.post(name, text, keep_for)

    def posted(self) -> Mapping[str, bytes]:
        return self._board.posted()

    def scheduled(self, queues: Sequence[str], offset: int = 0, limit: int = 100) -> Sequence[Scheduled]:
        rows = self._file.read("scheduled", (json.dumps(list(queues)), limit, offset))
        return [Scheduled(Message(queue=q, payload=p, priority=pr, due=due), due) for q, p, pr, due in rows]

    def dead_letters(self, offset: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        return [
            DeadLetter(
                id=str(row),
                message=Message(queue=queue, payload=payload, priority=priority),
                reason=reason,
                died_at=died_at,
                deliveries=deliveries,
            )
            for row, queue, payload, priority, reason, died_at, deliveries in self._file.read(
                "dead_letters", (limit, offset)
            )
        ]

    def retry_dead(self, ids: Iterable[str]) -> int:
        with self._file.writing() as db:
            rows = [row for row in _numbers(ids) if db.execute(SQL["is_dead"], (row,)).fetchone()[0]]
            return _move_to_the_tail(db, rows)

    def drop_dead(self, ids: Iterable[str]) -> int:
        with self._file.writing() as db:
            return db.executemany(SQL["drop_dead"], [(row,) for row in _numbers(ids)]).rowcount

    def purge(self, queues: Sequence[str]) -> int:
        names = json.dumps(list(queues))
        with self._file.writing() as db:
            return sum(db.execute(SQL[part], (names,)).rowcount for part in ("drop_ready", "drop_delayed"))

    def close(self) -> None:
        self._file.close()
        self._board.close()

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self._file.writing() as db:
            db.execute(SQL["bind"], (exchange, routing_key, pattern, queue))

    def bindings(self, exchange: str) -> Sequence[tuple[str, str, str]]:
        now = time.time()
        if self._file.read("expired_queues", (now,)):
            with self._file.writing() as db:
                _forget_expired(db, now)
        return [(key, pattern, queue) for key, pattern, queue in self._file.read("bindings", (exchange,))]

    def expire_queue(self, queue: str, after: float) -> None:
        with self._file.writing() as db:
            db.execute(SQL["expire_queue"], (queue, after, time.time() + after))

    def forget_queue(self, queue: str) -> None:
        with self._file.writing() as db:
            _forget(db, [queue])


def _numbers(ids: Iterable[str]) -> list[int]:
    """Return the row ids among the given texts, each once."""
    return [int(text) for text in dict.fromkeys(ids) if re.fullmatch(r"[0-9]{1,18}", text)]


def _row(lease: Lease) -> tuple[int, int]:
    """Return the row and the number of the claim that the lease id is made of; (-1, -1) for another's."""
    ours = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", lease.id)
    return (int(ours[1]), int(ours[2])) if ours else (-1, -1)


def _lease(owner: str, row: int, claim: int, deliveries: int, message: tuple[str, int, bytes]) -> Lease:
    queue, priority, payload = message
    return Lease(
        f"{row}-{claim}", owner, Message(queue=queue, payload=payload, priority=priority), deliveries
    )


def _settle(db: Connection, how: str, leases: Iterable[tuple[tuple[object, ...], Lease]]) -> list[Lease]:
    """Run the statement for each lease with its values; return the leases that were no longer held."""
    statement = SQL[how]
    return [
        lease
        for values, lease in leases
        if not db.execute(statement, (*values, *_row(lease), lease.owner)).rowcount
    ]


def _up_to_a_suspect(rows: Iterable[tuple[Any, ...]], owner: str) -> list[Lease]:
    """Return leases of the rows up to and with the first that was delivered before."""
    leases = []
    for row, claim, deliveries, *message in rows:
        leases.append(_lease(owner, row, claim, deliveries, tuple(message)))
        if deliveries > 1:
            break
    return leases


def _leases_of(db: Connection, owner: str) -> list[Lease]:
    rows = db.execute(SQL["leases_of"], (owner,)).fetchall()
    return [
        _lease(owner, row, claim, deliveries, tuple(message)) for row, claim, deliveries, *message in rows
    ]


def _take_back(db: Connection, owner: str, eviction: Eviction | None, max_deliveries: int) -> Reaped:
    """Settle all of an owner's leases as the eviction says, all as interrupted without; forget the owner."""
    leases = _leases_of(db, owner)
    eviction = eviction or Eviction(owner=owner, interrupted=frozenset(lease.id for lease in leases))
    returned, buried, now = 0, [], time.time()
    for lease in leases:
        row, _ = _row(lease)
        if lease.id in eviction.finished:
            _settle(db, "ack", [((), lease)])
        elif reason := cause_of_death(lease, eviction, max_deliveries):
            _settle(db, "bury", [((reason, now), lease)])
            buried.append(letter(str(row), lease, reason, now))
        else:
            _settle(db, "release", [((), lease)])
            db.execute(SQL["count_deliveries"], (lease.id in eviction.interrupted, row))
            returned += 1
    db.execute(SQL["forget_owner"], (owner,))
    return Reaped(returned, buried)


def _promote(db: Connection, now: float, limit: int) -> int:
    return _move_to_the_tail(db, [row for (row,) in db.execute(SQL["due_ids"], (now, limit))])


def _move_to_the_tail(db: Connection, rows: Sequence[int]) -> int:
    """Make delayed or dead messages ready, behind all others; return how many."""
    ids = [(row,) for row in rows]
    db.executemany(SQL["copy_to_the_tail"], ids)
    db.executemany(SQL["delete"], ids)
    return len(ids)


def _forget_expired(db: Connection, now: float) -> None:
    if queues := [queue for (queue,) in db.execute(SQL["expired_queues"], (now,))]:
        _forget(db, queues)


def _forget(db: Connection, queues: Sequence[str]) -> None:
    """Drop the queues' ready messages, bindings and expiry."""
    for part in ("drop_ready", "unbind", "forget_expiry"):
        db.execute(SQL[part], (json.dumps(queues),))
