"""Whether the ledger is equal: everything that was accepted has come to one end, and nothing to two."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import msgspec

__all__ = ["ALONE", "Books", "Kill", "balance"]

#: Limited tasks that may run at a time in the whole fleet.
ALONE = 2
#: What is acked after it ran, and so runs again if its process is killed meanwhile.
_LATE = {"acked_late", "sleeping", "retrying", "chained", "chorded"}
#: What is published by tasks before it, and so once more if one of them runs again.
_FED = ("-second", "-body", " again")


class Kill(msgspec.Struct, frozen=True):
    """A process that was killed, and when (Unix seconds)."""

    pid: int
    at: float


class _Row(msgspec.Struct, frozen=True):
    what: str
    pid: int
    at: float


class Books(msgspec.Struct):
    """Counts of keys, and those for which a promise was broken."""

    accepted: int = 0
    done: int = 0
    revoked: int = 0
    dead: int = 0
    asked: int = 0
    #: Started more than once because a process was killed.
    repeated: int = 0
    lost: list[str] = []
    beyond: list[str] = []
    wrong: list[str] = []

    @property
    def broken(self) -> list[str]:
        """Everything that must not be, in words."""
        beyond = [f"repeated beyond the contract: {key}" for key in self.beyond]
        return [*(f"lost: {key}" for key in self.lost), *beyond, *self.wrong]


def balance(ledger: Path, kills: list[Kill], letters: Mapping[str, str]) -> Books:
    """Return the balance of the ledger; ``letters`` are the reasons of the dead letters by key."""
    rows = _read(ledger)
    killed = {kill.pid: kill.at for kill in kills}
    books = Books(dead=len(letters))
    for key, some in rows.items():
        whats = {row.what for row in some}
        books.accepted += "accepted" in whats
        books.done += "done" in whats
        books.revoked += "revoked" in whats
        books.asked += "asked" in whats
        books.wrong += [f"{key}: {what}" for what in whats if what.startswith("wrong")]
        if "accepted" in whats and not whats & {"done", "revoked"} and key not in letters:
            books.lost.append(key)
        if key.startswith("revoked") and "done" in whats:
            books.wrong.append(f"{key}: was revoked in time, and ran")
        _count_starts(books, key, rows, killed)
    books.wrong += _unexplained(letters, rows, killed)
    books.wrong += _overlapping(rows, killed)
    return books


def _count_starts(
    books: Books, key: str, rows: Mapping[str, list[_Row]], killed: Mapping[int, float]
) -> None:
    starts = _starts(rows[key])
    if len(starts) < 2:
        return
    excused = sum(row.pid in killed for row in starts[:-1]) if key.split()[0] in _LATE else 0
    fed_anew = any(len(_starts(rows[one])) > 1 for one in _before(key, rows))
    if len(starts) - excused > 1 and not fed_anew:
        books.beyond.append(f"{key}, started {len(starts)} times, {excused} explained")
    else:
        books.repeated += 1


def _before(key: str, rows: Mapping[str, list[_Row]]) -> Iterator[str]:
    """The keys of the tasks that publish this one."""
    if end := next((end for end in _FED if key.endswith(end)), None):
        stem = key.removesuffix(end)
        yield from (one for one in (stem, f"{stem}-first", *(f"{stem}-{n}" for n in range(3))) if one in rows)


def _starts(rows: list[_Row]) -> list[_Row]:
    return [row for row in rows if row.what == "started"]


def _unexplained(
    letters: Mapping[str, str], rows: Mapping[str, list[_Row]], killed: Mapping[int, float]
) -> Iterator[str]:
    """Only what must not start twice may be dead, and only if its process was killed."""
    for key, reason in letters.items():
        starts = _starts(rows.get(key, []))
        explained = "must not start twice" in reason and all(start.pid in killed for start in starts)
        if key not in rows or not explained:
            yield f"{key} is dead: {reason}"


def _overlapping(rows: Mapping[str, list[_Row]], killed: Mapping[int, float]) -> Iterator[str]:
    """Whether more than so many limited tasks ran at a time."""
    changes = []
    for key, some in rows.items():
        if key.startswith("limited"):
            for start in _starts(some):
                ends = [row.at for row in some if row.pid == start.pid and row.what == "done"]
                changes += [(start.at, 1), (ends[0] if ends else killed.get(start.pid, start.at), -1)]
    most = max(accumulate(change for _, change in sorted(changes)), default=0)
    if most > ALONE:
        yield f"{most} of the tasks that are limited to {ALONE} at a time ran together"


def _read(ledger: Path) -> dict[str, list[_Row]]:
    connection = sqlite3.connect(ledger, timeout=30)
    try:
        rows: defaultdict[str, list[_Row]] = defaultdict(list)
        for key, what, pid, at in connection.execute("SELECT key, what, pid, at FROM entries ORDER BY rowid"):
            rows[key].append(_Row(what, pid, at))
        return dict(rows)
    finally:
        connection.close()
